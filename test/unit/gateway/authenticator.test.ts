import assert from "node:assert/strict";
import { test } from "node:test";
import { hashApiKey, newApiKey } from "../../../platform/api-keys.ts";
import { ApiKeys } from "../../../services/gateway/access/api-keys.ts";
import {
  Authenticator,
  type Credentials,
  type Tokens,
} from "../../../services/gateway/access/authenticator.ts";
import type { Caller } from "../../../services/gateway/access/caller.ts";
import { Failures } from "../../../services/gateway/access/limits.ts";

const callOf = (headers: Readonly<Record<string, string>>, certificateSubject?: string): Credentials => ({
  peer: { address: "2001:db8:1:2::9", certificateSubject },
  header: (name) => headers[name],
});

function fileOf(keys: Readonly<Record<string, string[]>>): ApiKeys {
  const entries = Object.entries(keys).map(([name, both]) => ({
    name,
    role: "viewer",
    sha256: both.map((key) => hashApiKey(key).toString("hex")),
  }));
  return new ApiKeys(JSON.stringify({ keys: entries }));
}

test("where nobody has to say who they are it is the address, or the verified certificate; headers are not looked at", () => {
  const open = new Authenticator(undefined, undefined);
  assert.equal(open.required, false);
  const expiresAtMs = Number.POSITIVE_INFINITY;
  assert.deepEqual(open.identify(callOf({ authorization: "Bearer nonsense" })), {
    name: "2001:db8:1:2::9",
    role: "admin",
    libraries: undefined,
    by: "none",
    client: "none 2001:db8:1:2::/64",
    expiresAtMs,
  });
  assert.deepEqual(open.identify(callOf({}, "batch.internal")), {
    name: "batch.internal",
    role: "admin",
    libraries: undefined,
    by: "certificate",
    client: "certificate batch.internal",
    expiresAtMs,
  });
});

test("during a rotation both keys are the same client; a certificate is no key", () => {
  const [first, second] = [newApiKey(), newApiKey()];
  const keys = { value: fileOf({ web: [first, second], ops: [newApiKey()] }), version: 1 };
  const closed = new Authenticator(keys, undefined);
  const clients = [first, second].map((key) => closed.identify(callOf({ "x-api-key": key })));
  assert.deepEqual(clients[0], clients[1]);
  assert.ok(!(clients[0] instanceof Promise) && clients[0]?.client === "api_key web");
  assert.throws(() => closed.identify(callOf({}, "batch.internal")), { reason: "CREDENTIALS_MISSING" });
});

test("a valid key is taken from an address that has failed too often; a wrong one is not looked at", () => {
  const key = newApiKey();
  const closed = new Authenticator(
    { value: fileOf({ web: [key] }), version: 1 },
    undefined,
    new Failures(() => 1_000),
  );
  const tryWrong = () => closed.identify(callOf({ authorization: `Bearer ${newApiKey()}` }));
  for (let n = 0; n < 20; n += 1) assert.throws(tryWrong, { reason: "CREDENTIALS_INVALID" });
  assert.throws(tryWrong, { code: "RESOURCE_EXHAUSTED", reason: "RATE_LIMITED" });
  closed.identify(callOf({ authorization: `Bearer ${key}` }));
});

/** Tokens that begin with "good" are; each verification ends when the test says so. */
class FakeTokens implements Tokens {
  readonly seen: string[] = [];
  readonly #known = new Map<string, Caller>();
  readonly #open: (() => void)[] = [];
  most = 0;

  known(token: string): Caller | undefined {
    return this.#known.get(token);
  }

  async verify(token: string): Promise<Caller | undefined> {
    this.seen.push(token);
    await new Promise<void>((resolve) => {
      this.most = Math.max(this.most, this.#open.push(resolve));
    });
    if (!token.startsWith("good")) return undefined;
    const caller: Caller = {
      name: token,
      role: "viewer",
      libraries: undefined,
      by: "jwt",
      client: `jwt ${token}`,
      expiresAtMs: Number.POSITIVE_INFINITY,
    };
    this.#known.set(token, caller);
    return caller;
  }

  /** Ends what is verified, and what is begun then, until nothing is. */
  async finish(): Promise<void> {
    while (this.#open.length > 0) {
      for (const end of this.#open.splice(0)) end();
      await new Promise(setImmediate);
    }
  }
}

/** Outcomes of calls with these tokens, made at once: a name or a reason. */
function callAll(authenticator: Authenticator, tokens: readonly string[]): Promise<string[]> {
  return Promise.all(
    tokens.map(async (token) => {
      try {
        return (await authenticator.identify(callOf({ authorization: `Bearer ${token}` }))).name;
      } catch (error) {
        return (error as { readonly reason: string }).reason;
      }
    }),
  );
}

const numbered = (count: number, name: string): string[] =>
  Array.from({ length: count }, (_, n) => `${name}-${n}`);

function withTokens(): {
  tokens: FakeTokens;
  source: { value: Tokens; version: number };
  all: Authenticator;
} {
  const tokens = new FakeTokens();
  const source = { value: tokens as Tokens, version: 1 };
  return { tokens, source, all: new Authenticator(undefined, source, new Failures(() => 1_000)) };
}

test("a hundred valid tokens that are new at once get in, 16 verified at a time", async () => {
  const { tokens, all } = withTokens();
  const names = numbered(100, "good");
  const calls = callAll(all, names);
  await tokens.finish();
  assert.deepEqual(await calls, names);
  assert.equal(tokens.most, 16);
});

test("of a flood of bad tokens few are verified, and those that are known get in meanwhile", async () => {
  const { tokens, all } = withTokens();
  const known = callAll(all, ["good-known"]);
  await tokens.finish();
  await known;
  const flood = callAll(all, numbered(900, "bad"));
  await tokens.finish();
  const outcomes = await flood;
  const looked = tokens.seen.length - 1;
  assert.ok(looked >= 20 && looked < 20 + 16, `${looked} were verified`);
  assert.equal(outcomes.filter((reason) => reason === "CREDENTIALS_INVALID").length, looked);
  assert.equal(outcomes.filter((reason) => reason === "RATE_LIMITED").length, 900 - looked);
  assert.deepEqual(await callAll(all, ["good-known", "good-new"]), ["good-known", "RATE_LIMITED"]);
});

test("so many tokens wait and no more; calls with the same one wait for one verification", async () => {
  const { tokens, all } = withTokens();
  const calls = callAll(all, [...numbered(1_100, "good"), ...Array<string>(500).fill("good-0")]);
  await tokens.finish();
  const outcomes = await calls;
  assert.equal(outcomes.filter((reason) => reason === "RATE_LIMITED").length, 1_100 - 1_016);
  assert.equal(outcomes.filter((name) => name === "good-0").length, 501);
  assert.equal(tokens.seen.length, 1_016);
});

test("what was verified by keys that were replaced meanwhile is verified by those that count", async () => {
  const { tokens, source, all } = withTokens();
  const call = callAll(all, ["good"]);
  const nobody: Tokens = { known: () => undefined, verify: async () => undefined };
  source.value = nobody;
  source.version = 2;
  await tokens.finish();
  assert.deepEqual(await call, ["CREDENTIALS_INVALID"]);
  assert.deepEqual(tokens.seen, ["good"]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { hashApiKey, newApiKey } from "../../../platform/api-keys.ts";
import { ApiKeys } from "../../../services/gateway/access/api-keys.ts";
import { Authenticator, type Credentials } from "../../../services/gateway/access/authenticator.ts";
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

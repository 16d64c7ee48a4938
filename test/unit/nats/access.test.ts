import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { nkeys } from "nats";
import { ConfigError } from "../../../platform/config.ts";
import { connectionOptions, isGuest, natsAccess } from "../../../platform/nats/access.ts";
import { tempDir } from "../../support/temp.ts";

const settings = {
  ARRW_NATS_URL: "nats://127.0.0.1:4222",
  ARRW_NATS_API_PREFIX: "$JS.API",
  ARRW_NATS_CREDS_FILE: "",
  ARRW_NATS_CA_FILE: "",
};

test("name and password of the URL are taken out of it, decoded; a name alone is a token", () => {
  const { servers, user, pass } = connectionOptions({ url: "nats://me:p%40ss@a:1,nats://b:2" });
  assert.deepEqual([servers, user, pass], [["a:1", "b:2"], "me", "p@ss"]);
  assert.equal(connectionOptions({ url: "nats://secret@a:1" }).token, "secret");
  const open = connectionOptions({ url: "nats://a:1" });
  assert.deepEqual([open.user, open.token, open.tls], [undefined, undefined, undefined]);
});

test("tls:// or authorities ask for TLS", () => {
  assert.deepEqual(connectionOptions({ url: "tls://a:1" }).tls, {});
  assert.deepEqual(connectionOptions({ url: "nats://a:1", caFile: "ca.pem" }).tls, { caFile: "ca.pem" });
});

test("another prefix makes a guest", () => {
  assert.ok(!isGuest({ url: "" }));
  assert.ok(!isGuest(natsAccess(settings)));
  assert.ok(isGuest(natsAccess({ ...settings, ARRW_NATS_API_PREFIX: "JSC.API" })));
});

test("credentials come from their file at each connect; one that isn't there is named", async (t) => {
  const file = join(await tempDir(t), "worker.creds");
  assert.throws(
    () => natsAccess({ ...settings, ARRW_NATS_CREDS_FILE: file }),
    (error) => error instanceof ConfigError && /^ARRW_NATS_CREDS_FILE: .*ENOENT/.test(error.message),
  );
  const write = async (jwt: string) => {
    const user = nkeys.createUser();
    const seed = Buffer.from(user.getSeed()).toString();
    const part = (name: string, text: string) =>
      `-----BEGIN ${name}-----\n${text}\n------END ${name}------\n\n`;
    await writeFile(file, part("NATS USER JWT", jwt) + part("USER NKEY SEED", seed));
    return user;
  };
  await write("first");
  const { authenticator } = connectionOptions({ url: "nats://a:1", credsFile: file });
  assert.ok(typeof authenticator === "function");
  const user = await write("second");
  const { jwt, sig } = authenticator("nonce") as { jwt: string; sig: string };
  assert.equal(jwt, "second");
  assert.ok(user.verify(Buffer.from("nonce"), Buffer.from(sig, "base64url")));
});

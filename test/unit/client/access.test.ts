import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { ArrwClient, ClientError, optionsFromEnvironment, tokenFromFile } from "../../../client/index.ts";
import { tempDir } from "../../support/temp.ts";

const refused = (message: RegExp) => (error: unknown) =>
  error instanceof ClientError && error.code === "INVALID_ARGUMENT" && message.test(error.message);

test("options from the environment: address, key, TLS; nothing is on by itself", () => {
  assert.deepEqual(optionsFromEnvironment({}), {});
  assert.deepEqual(optionsFromEnvironment({ ARRW_ADDRESS: "", ARRW_API_KEY: "", ARRW_TLS_CA_FILE: "" }), {});
  assert.deepEqual(optionsFromEnvironment({ ARRW_ADDRESS: "a:1", ARRW_API_KEY: "k", ARRW_TLS: "true" }), {
    address: "a:1",
    apiKey: "k",
    tls: {},
  });
  const env = { ARRW_TLS_CA_FILE: "ca", ARRW_TLS_CERT_FILE: "cert", ARRW_TLS_KEY_FILE: "key" };
  assert.deepEqual(optionsFromEnvironment({ ...env, ARRW_TLS_SERVER_NAME: "gateway" }), {
    tls: { caFile: "ca", certFile: "cert", keyFile: "key", serverName: "gateway" },
  });
  // A server's own certificate doesn't make its clients speak TLS.
  assert.deepEqual(optionsFromEnvironment({ ARRW_TLS_CERT_FILE: "cert", ARRW_TLS_KEY_FILE: "key" }), {});
  assert.deepEqual(optionsFromEnvironment({ ...env, ARRW_TLS: "false" }), {});
  assert.throws(
    () => optionsFromEnvironment({ ARRW_TLS: "yes" }),
    refused(/^ARRW_TLS: true or false; got "yes"/),
  );
  assert.throws(
    () => optionsFromEnvironment({ ARRW_API_KEY: "k", ARRW_API_KEY_FILE: "f" }),
    refused(/one of the two/),
  );
});

test("what can't be used is said when the client is made", async (t) => {
  const folder = await tempDir(t);
  const empty = join(folder, "empty.pem");
  await writeFile(empty, "nothing");
  const broken = join(folder, "broken.pem");
  await writeFile(broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  const make = (options: ConstructorParameters<typeof ArrwClient>[0]) => () =>
    new ArrwClient(options).close();
  assert.throws(make({ apiKey: "k", token: () => "t" }), refused(/apiKey and token/));
  assert.throws(make({ tls: { caFile: join(folder, "none") } }), refused(/caFile: ENOENT/));
  assert.throws(make({ tls: { caFile: empty } }), refused(/no PEM in it/));
  assert.throws(make({ tls: { certFile: broken } }), refused(/cert and key go together/));
  assert.throws(make({ tls: { ca: "x", caFile: "y" } }), refused(/ca and caFile/));
  assert.throws(make({ tls: { certFile: broken, keyFile: broken } }), refused(/^tls: .+broken\.pem/));
  assert.doesNotThrow(make({ tls: true, apiKey: "k" }));
});

test("a key from a file is without its newline; an empty or longer file is none", async (t) => {
  const file = join(await tempDir(t), "key");
  const token = tokenFromFile(file);
  await assert.rejects(token(), /ENOENT/);
  await writeFile(file, "arrw_abc\n");
  assert.equal(await token(), "arrw_abc");
  for (const content of ["\n", "two keys", "two\nlines"]) {
    await writeFile(file, content);
    await assert.rejects(tokenFromFile(file)(), /key in it/);
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { callHostOf, connectHostOf, environmentOf, hostOf } from "../../../cli/inside.ts";

const NONE = {
  ARRW_HOST: "127.0.0.1",
  ARRW_TLS_CERT_FILE: "",
  ARRW_TLS_KEY_FILE: "",
  ARRW_TLS_CLIENT_CA_FILE: "",
  ARRW_TLS_CA_FILE: "",
};

test("the gateway alone listens beyond loopback", () => {
  const settings = { ...NONE, ARRW_HOST: "0.0.0.0" };
  assert.equal(hostOf("gateway", settings), "0.0.0.0");
  assert.equal(connectHostOf("gateway", settings), "127.0.0.1");
  for (const service of ["index", "scheduler", "worker"]) {
    assert.equal(hostOf(service, settings), "127.0.0.1");
    assert.equal(environmentOf(service, { ARRW_HOST: "0.0.0.0" }, settings).ARRW_HOST, "127.0.0.1");
  }
  assert.equal(hostOf("index", { ARRW_HOST: "127.0.0.2" }), "127.0.0.2");
});

test("a certificate without authorities is the gateway's; with them everybody has it", () => {
  const env = { ARRW_TLS_CERT_FILE: "c", ARRW_TLS_KEY_FILE: "k", ARRW_TLS_CLIENT_CA_FILE: "ca" };
  const alone = { ...NONE, ...env };
  assert.deepEqual(environmentOf("gateway", env, alone), env);
  assert.deepEqual(environmentOf("index", env, alone), { ARRW_HOST: "127.0.0.1" });
  assert.equal(callHostOf("index", alone), "127.0.0.1");

  const everywhere = { ...alone, ARRW_TLS_CA_FILE: "ca" };
  assert.deepEqual(environmentOf("index", env, everywhere), { ...env, ARRW_HOST: "127.0.0.1" });
  assert.equal(callHostOf("index", everywhere), "localhost");
});

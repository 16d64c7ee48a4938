import assert from "node:assert/strict";
import { test } from "node:test";
import { checksumOf } from "../../../platform/nats/release-archive.ts";
import { serverConfig } from "../../../platform/nats/server-process.ts";
import { compareVersions, parseVersion, tooOld } from "../../../platform/nats/server-version.ts";

test("a version is read from what servers print", () => {
  assert.equal(parseVersion("nats-server: v2.15.1\n"), "2.15.1");
  assert.equal(parseVersion("nats-server: v2.9.10"), "2.9.10");
  assert.equal(parseVersion("nats-server version 2.10.27-RC.1"), "2.10.27");
  assert.equal(parseVersion("nats-server: v2.12"), undefined);
  assert.equal(parseVersion("usage: something else"), undefined);
});

test("versions compare as numbers", () => {
  const sorted = ["2.10.27", "2.9.10", "10.0.0", "2.10.3"].sort(compareVersions);
  assert.deepEqual(sorted, ["2.9.10", "2.10.3", "2.10.27", "10.0.0"]);
  assert.equal(compareVersions("2.10.0", "2.10.0"), 0);
});

test("2.10 is the oldest that is accepted, and the refusal says what is needed", () => {
  assert.equal(tooOld("2.10.0"), undefined);
  assert.equal(tooOld("3.0.0"), undefined);
  assert.match(tooOld("2.9.99") ?? "", /nats-server 2\.9\.99 is too old, 2\.10 or newer is needed/);
});

test("a checksum is found by the whole file name", () => {
  const [a, b] = ["a".repeat(64), "b".repeat(64)];
  const sums = `${a}  nats-server-v2.15.1-linux-arm64.tar.gz\n${b.toUpperCase()} *nats-server-v2.15.1-linux-amd64.tar.gz\n`;
  assert.equal(checksumOf(sums, "nats-server-v2.15.1-linux-amd64.tar.gz"), b);
  assert.equal(checksumOf(sums, "nats-server-v2.15.1-linux-amd64.tar"), undefined);
  assert.equal(checksumOf(`${"a".repeat(63)}  x.tar.gz`, "x.tar.gz"), undefined);
});

test("the server's configuration syncs always, listens on loopback and has no monitoring unless told", () => {
  const text = serverConfig({ storeDir: '/tmp/with "quotes"', port: 4_333 });
  assert.match(text, /^host: "127\.0\.0\.1"$/m);
  assert.match(text, /^port: 4333$/m);
  assert.match(text, /sync_interval: always/);
  assert.match(text, /store_dir: "\/tmp\/with \\"quotes\\""/);
  assert.doesNotMatch(text, /http/);
  assert.doesNotMatch(serverConfig({ storeDir: "/tmp/x", syncAlways: false }), /sync_interval/);
  assert.match(serverConfig({ storeDir: "/tmp/x", httpPort: 8_222 }), /^http: "127\.0\.0\.1:8222"$/m);
});

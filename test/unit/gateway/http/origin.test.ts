import assert from "node:assert/strict";
import { test } from "node:test";
import { allowedOrigins, isLocalName, isOwnOrigin } from "../../../../services/gateway/http/origin.ts";

test("origins of the setting: without the scheme's own port; anything else is refused by name", () => {
  assert.deepEqual(allowedOrigins(""), []);
  assert.deepEqual(allowedOrigins("https://a.example, http://b.example:3000,HTTPS://C.example"), [
    "https://a.example",
    "http://b.example:3000",
    "https://c.example",
  ]);
  assert.deepEqual(allowedOrigins("*"), ["*"]);
  for (const wrong of ["a.example", "https://a.example/", "https://a.example/path", "null", "*.example"]) {
    assert.throws(() => allowedOrigins(wrong), /ARRW_HTTP_CORS_ORIGINS/, wrong);
  }
});

test("a page of this server's own, also behind a proxy that does TLS", () => {
  assert.ok(isOwnOrigin("http://127.0.0.1:8000", "127.0.0.1:8000"));
  assert.ok(isOwnOrigin("https://jobs.example", "jobs.example"));
  assert.ok(isOwnOrigin("http://[::1]:8000", "[::1]:8000"));
  for (const [origin, host] of [
    ["http://127.0.0.1:3000", "127.0.0.1:8000"],
    ["http://evil.example", "127.0.0.1:8000"],
    ["http://jobs.example.evil.example", "jobs.example"],
    ["null", "127.0.0.1:8000"],
    ["file://127.0.0.1:8000", "127.0.0.1:8000"],
    ["http://a.example", undefined],
    ["http://a.example", "a.example/evil"],
  ] as const) {
    assert.equal(isOwnOrigin(origin, host), false, `${origin} ${host}`);
  }
});

test("Host as only this machine has it", () => {
  for (const host of [
    "localhost",
    "LOCALHOST:8000",
    "127.0.0.1:8000",
    "[::1]:8000",
    "192.168.1.5",
    "a.localhost:1",
  ]) {
    assert.ok(isLocalName(host), host);
  }
  for (const host of [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "",
  ]) {
    assert.equal(isLocalName(host), false, host);
  }
});

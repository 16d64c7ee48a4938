import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatApiKeyFile,
  hashApiKey,
  isApiKey,
  newApiKey,
  parseApiKeyFile,
} from "../../../platform/api-keys.ts";
import { exposureProblem, guardedExposure, isLoopback } from "../../../platform/exposure.ts";

const HASH = "ab".repeat(32);
const fileOf = (...keys: unknown[]): string => JSON.stringify({ keys });

function problemOf(text: string): string {
  try {
    parseApiKeyFile(text);
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
  assert.fail("nothing was wrong");
}

test("keys are long, random and recognised; their hash is SHA-256", () => {
  const keys = new Set(Array.from({ length: 100 }, newApiKey));
  assert.equal(keys.size, 100);
  for (const key of keys) assert.match(key, /^arrw_[A-Za-z0-9_-]{43}$/);
  assert.ok(isApiKey(newApiKey()));
  assert.ok(!isApiKey("eyJhbGciOiJFUzI1NiJ9.e30.c2ln"));
  const ofAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  assert.equal(hashApiKey("abc").toString("hex"), ofAbc);
});

test("a file is written as it is read", () => {
  const file = {
    keys: [
      { name: "ops", role: "admin" as const, sha256: [HASH, "cd".repeat(32)] },
      {
        name: "web@acme",
        role: "viewer" as const,
        libraries: ["docs", "acme-*"],
        sha256: ["ef".repeat(32)],
        expires_at: "2026-01-31T00:00:00Z",
      },
    ],
  };
  assert.deepEqual(parseApiKeyFile(formatApiKeyFile(file)), file);
});

test("all that is wrong with a file is named, none of what is in it", () => {
  const bad = problemOf(
    fileOf(
      { name: "", role: "boss", sha256: ["arrw_plain-key-by-mistake"], libraries: [] },
      { name: "ok", role: "admin", sha256: [], expires_at: "tomorrow", owner: "me" },
      { name: "ok", role: "admin", sha256: [HASH], libraries: ["a*b"] },
    ),
  );
  for (const place of [
    "keys[0].name: ",
    "keys[0].role: expected one of viewer, submitter, admin",
    "keys[0].sha256[0]: expected 64 hex digits",
    "keys[0].libraries: ",
    "keys[1].sha256: ",
    "keys[1].expires_at: ",
    "keys[1]: ",
    "keys[2].libraries[0]: ",
  ]) {
    assert.ok(bad.includes(place), `${place} in ${bad}`);
  }
  assert.ok(!bad.includes("plain-key"), bad);
  const one = { role: "admin", sha256: [HASH] };
  const repeated = problemOf(fileOf({ name: "a", ...one }, { name: "a", ...one }));
  assert.match(repeated, /keys\[1\]\.name: .*; keys: a hash is there twice/);
  assert.match(problemOf("{}"), /^keys: /);
  const cut = problemOf(fileOf({ name: "a", ...one }).slice(0, -9));
  assert.match(cut, /^it is no JSON/);
  assert.ok(!cut.includes(HASH.slice(0, 4)), cut);
});

test("which addresses only this machine reaches", () => {
  for (const host of ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
    assert.ok(isLoopback(host), host);
  for (const host of ["0.0.0.0", "::", "10.0.0.1", "example.org", "127.example.org", ""])
    assert.ok(!isLoopback(host), host);
});

test("a bind that others reach needs somebody to prove who they are, or to be asked for", () => {
  const closed = {
    ARRW_HOST: "0.0.0.0",
    ARRW_ALLOW_UNAUTHENTICATED: "false",
    ARRW_TLS_CLIENT_CA_FILE: "",
    ARRW_API_KEYS_FILE: "",
    ARRW_JWKS_FILE: "",
  };
  const { ARRW_API_KEYS_FILE, ARRW_JWKS_FILE, ...internal } = closed;
  assert.match(
    exposureProblem(closed) ?? "",
    /^ARRW_HOST: 0\.0\.0\.0 .*ARRW_API_KEYS_FILE, ARRW_JWKS_FILE or/,
  );
  assert.match(
    exposureProblem(internal) ?? "",
    /set ARRW_TLS_CLIENT_CA_FILE, or ARRW_ALLOW_UNAUTHENTICATED=true/,
  );
  assert.throws(() => guardedExposure(closed), { name: "ConfigError" });
  for (const settings of [
    { ...closed, ARRW_HOST: "127.0.0.1" },
    { ...closed, ARRW_ALLOW_UNAUTHENTICATED: "true" },
    { ...closed, ARRW_TLS_CLIENT_CA_FILE: "ca.pem" },
    { ...closed, ARRW_API_KEYS_FILE: "keys.json" },
    { ...closed, ARRW_JWKS_FILE: "jwks.json" },
    { ...internal, ARRW_TLS_CLIENT_CA_FILE: "ca.pem" },
  ]) {
    assert.equal(exposureProblem(settings), undefined);
    assert.equal(guardedExposure(settings), settings);
  }
});

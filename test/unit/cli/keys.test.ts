import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { changeApiKeys, readApiKeys } from "../../../cli/api-key-file.ts";
import { keyLines, withKey, withoutKey, withoutOldKey, withSecondKey } from "../../../cli/commands/keys.ts";
import { type ApiKey, hashApiKey } from "../../../platform/api-keys.ts";

const hex = (key: string): string => hashApiKey(key).toString("hex");
const made = (name: string, key: string): ApiKey[] =>
  withKey([], { name, role: "viewer", libraries: undefined, expiresAtMs: undefined, key });

test("a key is rotated by a second one; then the first is taken away", () => {
  const first = made("web", "arrw_1");
  assert.deepEqual(first, [{ name: "web", role: "viewer", sha256: [hex("arrw_1")] }]);
  const both = withSecondKey(first, "web", "arrw_2");
  assert.deepEqual(both[0]?.sha256, [hex("arrw_1"), hex("arrw_2")]);
  assert.throws(() => withSecondKey(both, "web", "arrw_3"), /revoke web --old/);
  assert.deepEqual(withoutOldKey(both, "web")[0]?.sha256, [hex("arrw_2")]);
  assert.throws(() => withoutOldKey(first, "web"), /has one key/);
  assert.deepEqual(withoutKey(both, "web"), []);
});

test("a name is given once, and must be there to be changed", () => {
  const keys = made("web", "arrw_1");
  const again = { name: "web", role: "admin", libraries: ["a"], expiresAtMs: 0, key: "arrw_2" } as const;
  assert.throws(() => withKey(keys, { ...again, libraries: ["a"] }), /keys rotate web/);
  for (const change of [
    withoutKey,
    withoutOldKey,
    (before: ApiKey[], n: string) => withSecondKey(before, n, "k"),
  ])
    assert.throws(() => change(keys, "ops"), /no key has the name ops/);
});

test("the list shows who, what, until when, and never a hash", () => {
  const keys: ApiKey[] = [
    { name: "ops", role: "admin", sha256: ["aa".repeat(32), "bb".repeat(32)] },
    {
      name: "web",
      role: "viewer",
      libraries: ["docs", "acme-*"],
      sha256: ["cc".repeat(32)],
      expires_at: "2026-01-31T00:00:00.000Z",
    },
  ];
  const text = keyLines(keys, Date.parse("2026-02-01T00:00:00Z")).join("\n");
  assert.match(text, /^ops +admin +all +never +old and new$/m);
  assert.match(text, /^web +viewer +docs, acme-\* +2026-01-31T00:00:00\.000Z \(expired\)/m);
  assert.ok(!/(aa|bb|cc){4}/.test(text));
  assert.match(keyLines([], 0).join(""), /nobody is let in/);
});

test("a change that is wrong leaves the file, and no draft; another one at work is waited for by nobody", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "arrw-test-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "keys.json");
  assert.throws(() => readApiKeys(file), /no such file; `arrw keys create` makes it/);
  assert.throws(() => changeApiKeys(file, (keys) => withoutKey(keys, "web")), /no key has the name web/);
  assert.throws(
    () => changeApiKeys(file, () => made("a b", "arrw_1")),
    /keys\[0\]\.name: 1\.\.100 characters/,
  );
  assert.ok(!existsSync(file) && !existsSync(`${file}.new`));
  changeApiKeys(file, () => made("web", "arrw_1"));
  assert.deepEqual(readApiKeys(file).keys, made("web", "arrw_1"));
  writeFileSync(`${file}.new`, "");
  assert.throws(() => changeApiKeys(file, (keys) => withoutKey(keys, "web")), /another arrw keys is at work/);
  assert.equal(readApiKeys(file).keys.length, 1);
  rmSync(`${file}.new`);
  writeFileSync(file, "{ broken");
  assert.throws(() => changeApiKeys(file, () => []), /keys\.json: it is no JSON/);
});

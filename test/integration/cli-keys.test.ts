import assert from "node:assert/strict";
import { readFile, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { hashApiKey, parseApiKeyFile } from "../../platform/api-keys.ts";
import { arrw } from "../support/arrw.ts";
import { tempDir } from "../support/temp.ts";

test("arrw keys: a key is shown once, its hash is kept for the owner's eyes, through a link too", async (t) => {
  const folder = await tempDir(t);
  const file = join(folder, "keys.json");
  const keys = (...args: string[]) => arrw("127.0.0.1:1", ["keys", ...args, "--file", file]);
  const made = await keys(
    "create",
    "web",
    "--role",
    "submitter",
    "--library",
    "docs,acme-*",
    "--expires",
    "90d",
  );
  assert.equal(made.code, 0, made.stderr);
  const key = made.stdout.trim();
  assert.match(key, /^arrw_[A-Za-z0-9_-]{43}$/);
  const text = await readFile(file, "utf8");
  assert.ok(!text.includes(key));
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const [entry] = parseApiKeyFile(text).keys;
  assert.deepEqual(entry?.sha256, [hashApiKey(key).toString("hex")]);
  assert.deepEqual(entry?.libraries, ["docs", "acme-*"]);
  const days = (Date.parse(entry?.expires_at ?? "") - Date.now()) / 86_400_000;
  assert.ok(days > 89.9 && days <= 90, `${days} days`);

  const link = join(folder, "link.json");
  await symlink(file, link);
  const rotated = await arrw("127.0.0.1:1", ["keys", "rotate", "web", "--file", link, "--json"]);
  const second = (JSON.parse(rotated.stdout) as { key: string }).key;
  const hashes = parseApiKeyFile(await readFile(file, "utf8")).keys[0]?.sha256;
  assert.deepEqual(
    hashes,
    [key, second].map((each) => hashApiKey(each).toString("hex")),
  );
  assert.match((await keys("list")).stdout, /web +submitter +docs, acme-\* .*old and new/);
});

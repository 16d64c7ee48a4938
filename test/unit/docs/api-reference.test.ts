import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { API_REFERENCE, apiReference } from "../../support/api-reference.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

test("docs/api-reference.md is what the proto files say", () => {
  assert.equal(readFileSync(API_REFERENCE, "utf8"), apiReference(), "run npm run docs");
});

test("docs/api-reference.md has every call, and something to say of everything", () => {
  const reference = readFileSync(API_REFERENCE, "utf8");
  for (const call of [
    "SubmitJob",
    "WatchJobs",
    "ImportDocuments",
    "Search",
    "RollbackGeneration",
    "DrainWorker",
  ]) {
    assert.match(reference, new RegExp(`^\\| \`${call}\` \\| .+ \\| .+ \\| .{20,} \\|$`, "m"));
  }
  assert.doesNotMatch(reference, /^### \S+\n\n\n/m);
});

/** Reasons that no client meets: of services among themselves, of a process that doesn't start, of a job's end. */
const INTERNAL = new Set([
  "BUILD_NOT_FOUND",
  "BUILD_RUNNING",
  "EXPORT_NOT_FOUND",
  "LEASE_FENCED",
  "LOCKED",
  "NATS_SERVER_NOT_FOUND",
  "NATS_SERVER_UNUSABLE",
  "NOT_LEADING",
  "TOO_MANY_EXPORTS",
]);

test("docs/api.md says what every reason means that the source gives", () => {
  const document = readFileSync(join(root, "docs/api.md"), "utf8");
  const errors = document.slice(document.indexOf("## Errors"));
  const known = new Set(errors.match(/\b[A-Z][A-Z_]{3,}\b/g));
  const given = new Set<string>();
  for (const folder of ["platform", "services"]) {
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".ts")) continue;
      const source = readFileSync(join(root, folder, file), "utf8");
      for (const [said] of source.matchAll(/\breason: "[A-Z_]+"(?: \| "[A-Z_]+")*/g)) {
        for (const [, reason = ""] of said.matchAll(/"([A-Z_]+)"/g)) given.add(reason);
      }
    }
  }
  assert.ok(given.size > 30);
  const missing = [...given].filter((reason) => !known.has(reason) && !INTERNAL.has(reason));
  assert.deepEqual(missing.sort(), []);
});

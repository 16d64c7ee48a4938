import assert from "node:assert/strict";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Logger } from "../../../platform/log.ts";
import { ReloadedFile } from "../../../services/gateway/access/reloaded-file.ts";
import { eventually } from "../../support/eventually.ts";
import { tempDir } from "../../support/temp.ts";

test("a changed file that can't be read is tried again; one that is wrong is read once, and logged once", async (t) => {
  const path = join(await tempDir(t), "keys");
  const write = async (text: string): Promise<void> => {
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  };
  await write("first");
  let failures = 0;
  const [reads, errors]: [string[], string[]] = [[], []];
  const file = new ReloadedFile({
    what: "Keys",
    path,
    private: false,
    pollMs: 5,
    log: {
      info: () => undefined,
      error: (_: unknown, text: string) => errors.push(text),
    } as unknown as Logger,
    read: async (from) => {
      if (failures > 0) {
        failures -= 1;
        throw new Error("EMFILE: too many open files");
      }
      const text = await readFile(from, "utf8");
      reads.push(text);
      return text;
    },
    parse: (text) => {
      if (text === "wrong") throw new Error("it is wrong");
      return text;
    },
  });
  await file.start();
  t.after(() => file.stop());
  failures = 3;
  await write("revoked");
  await eventually(async () => file.value === "revoked");
  assert.equal(failures, 0);
  assert.deepEqual(errors, [
    `Keys in ${path}: EMFILE: too many open files; what was read before goes on to count`,
  ]);
  const { version } = file;

  await write("wrong");
  await eventually(async () => reads.includes("wrong"));
  await eventually(async () => errors.length > 1);
  // Several looks later.
  const until = performance.now() + 60;
  await eventually(async () => performance.now() > until);
  await write("renewed");
  await eventually(async () => file.value === "renewed");
  assert.equal(reads.filter((text) => text === "wrong").length, 1);
  assert.equal(errors.length, 2);
  assert.equal(file.version, version + 1);
});

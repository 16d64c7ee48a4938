import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const documents = [
  ...readdirSync(ROOT).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
];
const FOLDERS = ["services", "platform", "proto", "client", "cli", "test", "bench", "deploy", "docs", ".ci"];

/** A title as GitHub makes an anchor of it. */
function anchor(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

for (const document of documents) {
  const text = readFileSync(join(ROOT, document), "utf8");

  test(`${document}: links lead somewhere`, () => {
    for (const [, target = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [file = "", fragment] = target.split("#");
      const path = file === "" ? join(ROOT, document) : join(ROOT, dirname(document), file);
      assert.ok(existsSync(path), `${target} is not there`);
      if (fragment === undefined) continue;
      const titles = [...readFileSync(path, "utf8").matchAll(/^#+ (.*)$/gm)].map(([, title = ""]) => title);
      assert.ok(titles.map(anchor).includes(fragment), `${target}: no such section`);
    }
  });

  // What a guide tells to create doesn't exist.
  if (document === "docs/adding-a-job-type.md") continue;
  test(`${document}: paths that it names exist`, () => {
    for (const [, path = ""] of text.matchAll(/`((?:[\w.-]+\/)+[\w.-]*)`/g)) {
      const [top = ""] = path.split("/");
      if (FOLDERS.includes(top)) assert.ok(existsSync(join(ROOT, path)), `${path} is not there`);
    }
  });

  test(`${document}: npm scripts that it names exist`, () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    for (const [, script = ""] of text.matchAll(/npm run ([\w:]+)/g)) {
      assert.ok(Object.hasOwn(scripts, script), `npm run ${script} is not there`);
    }
  });
}

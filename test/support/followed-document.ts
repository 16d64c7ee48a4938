import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** A block of a document that says what becomes of a file. */
export interface Step {
  /** Relative to the root of the tree. */
  readonly file: string;
  /** "diff" changes a file that exists, anything else makes a new one. */
  readonly language: string;
  readonly text: string;
}

const FENCE = /^```(\w+)\n(.*?)^```$/gms;
const FILE = /^`([\w./-]+\.\w+)`$/gm;

/** The code blocks of a Markdown text, each with the file named on a line of its own before it; `sh` blocks left out. */
export function stepsOf(markdown: string): Step[] {
  return [...markdown.matchAll(FENCE)].flatMap(({ 1: language = "", 2: text = "", index }) => {
    if (language === "sh") return [];
    const file = [...markdown.slice(0, index).matchAll(FILE)].at(-1)?.[1];
    return [{ file: file ?? assert.fail(`no file is named before: ${text.slice(0, 80)}`), language, text }];
  });
}

/** Does what the step says in the tree below `root`; fails when a diff doesn't fit the file at exactly one place. */
export async function follow(root: string, { file, language, text }: Step): Promise<void> {
  const path = join(root, file);
  if (language !== "diff") {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text, { flag: "wx" });
    return;
  }
  const lines = text.split("\n").slice(0, -1);
  const side = (dropped: string): string =>
    lines
      .filter((line) => !line.startsWith(dropped))
      .map((line) => `${line.slice(1)}\n`)
      .join("");
  const [before, after] = [side("+"), side("-")];
  const source = await readFile(path, "utf8");
  const places = source.split(before).length - 1;
  assert.equal(places, 1, `${file}: the document's lines are there ${places} times:\n${before}`);
  await writeFile(
    path,
    source.replace(before, () => after),
  );
}

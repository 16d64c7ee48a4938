import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { evenly } from "../../../cli/demo/texts.ts";
import { isTextFile } from "../../../cli/import/files.ts";
import { readNdjson } from "../../../cli/import/ndjson.ts";
import { documentId, textDocument } from "../../../cli/import/text-file.ts";

const UUID_V5 = /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

async function* bytesOf(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

async function read(chunks: readonly (string | Uint8Array)[]): Promise<unknown[]> {
  async function* input(): AsyncGenerator<Uint8Array> {
    for (const chunk of chunks) yield Buffer.from(chunk as string);
  }
  const documents: unknown[] = [];
  for await (const document of readNdjson(input(), "x.ndjson")) documents.push(document);
  return documents;
}

test("a path has the same id in every import, another one in another library", () => {
  const id = documentId("lib", "a/b.md");
  assert.match(id, UUID_V5);
  assert.equal(documentId("lib", "a/b.md"), id);
  assert.equal(new Set([id, documentId("lib", "a/c.md"), documentId("lib2", "a/b.md")]).size, 3);
  // Fixed for ever: another derivation would double what was imported before.
  assert.equal(documentId("docs", "README.md"), "6b26dea9-2c60-5dbf-bb3a-fd1cc0886c3f");
});

test("Markdown, text and licences are text files", () => {
  const yes = [
    "README.md",
    "a.MD",
    "notes.txt",
    "LICENSE",
    "licence",
    "COPYING",
    "LICENSE-MIT",
    "LICENSE.md",
  ];
  const no = ["index.js", "license.js", "LICENSED", "Makefile", "a.md.bak", ".md"];
  assert.deepEqual(yes.filter(isTextFile), yes);
  assert.deepEqual(no.filter(isTextFile), []);
});

test("a file's document has its path as title; what is no text is left out with the reason", async () => {
  const read = (content: Uint8Array) => textDocument({ libraryId: "lib" }, "a.md", "text", bytesOf(content));
  const document = await read(Buffer.from("# Hi"));
  assert.deepEqual(document, { documentId: documentId("lib", "a.md"), title: "a.md", texts: ["# Hi"] });
  assert.equal(await read(Buffer.from([1, 0, 2])), "it is not text");
  assert.equal(await read(Buffer.from(" \n")), "it is empty");
  assert.equal(await read(Buffer.from([0x67, 0xfc])), "not UTF-8; --encoding says what it is");
});

test("NDJSON gives the same documents however it is cut into chunks", async () => {
  const lines = [
    '{"document_id":"1","texts":["grüß"],"metadata":{"a":1}}',
    "",
    '{"texts":["x"],"vectors":[[1,2]]}',
  ];
  const bytes = Buffer.from(lines.join("\n"));
  const whole = await read([bytes]);
  assert.equal(whole.length, 2);
  assert.deepEqual(whole[0], {
    documentId: "1",
    title: "",
    texts: ["grüß"],
    metadata: { a: 1 },
    author: "",
    tags: [],
    sourceUrl: "",
    vectors: [],
  });
  const packed = Buffer.from(new Float32Array([1, 2]).buffer);
  assert.deepEqual((whole[1] as { vectors: unknown }).vectors, [{ packed }]);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 8 }), async (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const chunks = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
      assert.deepEqual(await read(chunks), whole);
    }),
    { numRuns: 50 },
  );
});

test("a bad line is named with its number and what is wrong", async () => {
  await assert.rejects(read(['{"texts":["a"]}\n{"texts":']), /^Failure: x\.ndjson, line 2: /);
  await assert.rejects(read(['{"texts":"a"}']), /line 1: texts: /);
  await assert.rejects(read(['{"texts":["a"],"titel":"x"}']), /line 1: .*titel/);
  await assert.rejects(read(['\n{"texts":[]}\n']), /line 2: texts: /);
});

test("a selection is even and the same every time", () => {
  const all = Array.from({ length: 10 }, (_, i) => i);
  assert.deepEqual(evenly(all, 4), [0, 2, 5, 7]);
  assert.deepEqual(evenly(all, 10), all);
  assert.deepEqual(evenly(all, 11), all);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import {
  decodeExportCheckpoint,
  encodeExportCheckpoint,
} from "../../../services/worker/domain/export-checkpoint.ts";
import { shortFloat } from "../../../services/worker/domain/short-float.ts";
import { type ExportFormatName, exportFormat } from "../../../services/worker/handlers/export-formats.ts";

/** Fields of an RFC 4180 file, by its grammar: rows end with CR LF, quotes in quoted fields are doubled. */
function readCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (let at = 0; at < text.length; ) {
    let field = "";
    if (text[at] === '"') {
      for (at += 1; text[at] !== '"' || text[at + 1] === '"'; at++) {
        assert.ok(at < text.length, "a quoted field without an end");
        field += text[at];
        if (text[at] === '"') at += 1;
      }
      at += 1;
    } else {
      const [plain = ""] = /^[^",\r\n]*/.exec(text.slice(at)) ?? [];
      field = plain;
      at += plain.length;
    }
    row.push(field);
    if (text[at] === ",") at += 1;
    else {
      assert.equal(text.slice(at, at + 2), "\r\n", `byte ${at}: a row ends with CR LF`);
      at += 2;
      rows.push(row);
      row = [];
      continue;
    }
    if (text.slice(at, at + 2) === "\r\n") {
      row.push("");
      at += 2;
      rows.push(row);
      row = [];
    }
  }
  assert.deepEqual(row, []);
  return rows;
}

function fileOf(name: ExportFormatName, documents: readonly Document[], withVectors = false): string {
  const format = exportFormat(name, withVectors);
  return format.head + documents.map((each, n) => format.document(each, n === 0)).join("") + format.tail;
}

const awkward = fc.string({
  unit: fc.constantFrom("a", '"', ",", "\r", "\n", ";", " ", "é", "𝄞", "=", "\\", "\t"),
});
const documents = fc.array(
  fc.record({
    documentId: fc.string({ minLength: 1 }),
    title: awkward,
    author: awkward,
    sourceUrl: awkward,
    tags: fc.array(awkward, { maxLength: 3 }),
    texts: fc.array(awkward, { minLength: 1, maxLength: 3 }),
    metadata: fc.option(
      fc.dictionary(fc.stringMatching(/^[a-z]{1,5}$/), fc.oneof(awkward, fc.boolean(), fc.integer())),
      {
        nil: undefined,
      },
    ),
  }),
  { maxLength: 4 },
);

const withVectors = (given: Partial<Document>, seed: number): Document => ({
  ...Document.fromPartial({}),
  ...given,
  vectors: (given.texts ?? []).map((_, n) => ({
    values: [],
    packed: Buffer.from(Float32Array.of(seed / 3, -n, 1e-30, 0.1).buffer),
  })),
});

const json = (document: Partial<Document>) => ({
  document_id: document.documentId,
  title: document.title,
  texts: document.texts,
  ...(document.metadata ? { metadata: document.metadata } : {}),
  author: document.author,
  tags: document.tags,
  source_url: document.sourceUrl,
});

test("CSV gives every field back, whatever is in it", () => {
  fc.assert(
    fc.property(documents, (given) => {
      const all = given.map((each, n) => withVectors(each, n));
      const [head, ...rows] = readCsv(fileOf("csv", all, true));
      assert.deepEqual(head, [
        "document_id",
        "chunk",
        "title",
        "author",
        "tags",
        "source_url",
        "metadata",
        "text",
        "embedding",
      ]);
      const wanted = all.flatMap((each, seed) =>
        each.texts.map((text, n) => [
          each.documentId,
          String(n),
          each.title,
          each.author,
          each.tags.length > 0 ? JSON.stringify(each.tags) : "",
          each.sourceUrl,
          each.metadata ? JSON.stringify(each.metadata) : "",
          text,
          JSON.stringify([shortFloat(Math.fround(seed / 3)), n === 0 ? 0 : -n, 1e-30, 0.1]),
        ]),
      );
      assert.deepEqual(rows, wanted);
    }),
    { numRuns: 150 },
  );
});

test("json is one array, ndjson a document a line", () => {
  fc.assert(
    fc.property(documents, (given) => {
      const all = given.map((each, n) => withVectors(each, n));
      const wanted = JSON.parse(JSON.stringify(given.map(json))) as unknown;
      assert.deepEqual(JSON.parse(fileOf("json", all)), wanted);
      const lines = fileOf("ndjson", all).split("\n");
      assert.equal(lines.pop(), "");
      assert.deepEqual(
        lines.map((line) => JSON.parse(line)),
        wanted,
      );
    }),
    { numRuns: 150 },
  );
  const [document] = JSON.parse(fileOf("json", [withVectors({ documentId: "a", texts: ["b"] }, 1)], true));
  assert.deepEqual(document.vectors, [[0.33333334, 0, 1e-30, 0.1]]);
  assert.deepEqual(JSON.parse(fileOf("json", [])), []);
  assert.equal(fileOf("ndjson", []), "");
});

test("a float32 is printed with the fewest digits that give it back", () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
      const short = shortFloat(value);
      assert.ok(Object.is(Math.fround(short), value));
      assert.ok(
        String(short)
          .replace(/e.*/, "")
          .replace(/\D|^-?0\.0*/g, "")
          .replace(/^0+|0+$/g, "").length <= 9,
      );
      assert.ok(String(short).length <= String(value).length);
    }),
    { numRuns: 3_000 },
  );
  const shown = [0.1, 1 / 3, 16_777_216, 1e-7, 3.4028234663852886e38, 1.401298464324817e-45, 123456.78];
  assert.deepEqual(
    shown.map((each) => shortFloat(Math.fround(each))),
    [0.1, 0.33333334, 16_777_216, 1e-7, 3.4028235e38, 1e-45, 123456.78],
  );
});

test("a checkpoint that can't be used is none", () => {
  const checkpoint = {
    pin: 1_700_000_000_000,
    after: "é",
    documents: 3,
    chunks: 4,
    sizeBytes: 500,
    pieces: [{ writer: "7", fromPart: 0 }],
  };
  assert.deepEqual(decodeExportCheckpoint(encodeExportCheckpoint(checkpoint)), checkpoint);
  const bad = [
    "",
    "null",
    "[]",
    "{",
    JSON.stringify({ ...checkpoint, pin: -1 }),
    JSON.stringify({ ...checkpoint, after: 1 }),
    JSON.stringify({ ...checkpoint, pieces: [] }),
    JSON.stringify({ ...checkpoint, pieces: [{ writer: 1, fromPart: 0 }] }),
    JSON.stringify({ ...checkpoint, pieces: Array.from({ length: 201 }, () => checkpoint.pieces[0]) }),
  ];
  for (const each of bad) assert.equal(decodeExportCheckpoint(Buffer.from(each)), undefined, each);
});

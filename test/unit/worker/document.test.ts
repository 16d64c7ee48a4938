import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Document, Vector } from "../../../proto/gen/arrwdb/v1/document.ts";
import { chunkingOptions, cutDocument } from "../../../services/worker/domain/document.ts";
import {
  decodeCheckpoint,
  encodeCheckpoint,
  IMPORT_START,
} from "../../../services/worker/domain/import-checkpoint.ts";

const chunking = { size: 10, overlap: 0 };
interface Fields {
  readonly texts?: string[];
  readonly vectors?: { values?: number[]; packed?: Buffer }[];
}

function documentOf({ texts = [], vectors = [] }: Fields): Document {
  return { ...Document.fromPartial({}), texts, vectors: vectors.map((vector) => Vector.fromPartial(vector)) };
}

const cut = (fields: Fields) => cutDocument(documentOf(fields), chunking);
const reason = (fields: Fields): string => {
  const result = cut(fields);
  assert.ok("reason" in result);
  return result.reason;
};
const floats = (...values: number[]): Buffer => Buffer.from(Float32Array.from(values).buffer);

describe("cutDocument", () => {
  test("texts above the chunk size are cut, in order", () => {
    const result = cut({ texts: ["short", "alpha beta gamma"] });
    assert.deepEqual(result, { texts: ["short", "alpha ", "beta gamma"], vectors: undefined });
  });

  test("with vectors each text is one chunk; both kinds of vectors come out packed", () => {
    const result = cut({
      texts: ["a text above the size", "b"],
      vectors: [{ values: [1, 2] }, { packed: floats(3, 4) }],
    });
    assert.ok(!("reason" in result));
    assert.equal(result.texts.length, 2);
    assert.deepEqual(result.vectors && [...new Float32Array(result.vectors.buffer)], [1, 2, 3, 4]);
  });

  test("what can't be imported says why", () => {
    assert.match(reason({}), /no texts/);
    assert.match(reason({ texts: ["a", ""] }), /texts\[1\] is empty/);
    assert.match(reason({ texts: Array(10_001).fill("a") }), /10001 texts; at most 10000/);
    assert.match(reason({ texts: ["a", "b"], vectors: [{ values: [1] }] }), /1 vectors for 2 texts/);
    assert.match(reason({ texts: ["a"], vectors: [{}] }), /vectors\[0\] is empty/);
    assert.match(reason({ texts: ["a"], vectors: [{ packed: Buffer.alloc(5) }] }), /5 bytes/);
    assert.match(
      reason({ texts: ["a", "b"], vectors: [{ values: [1] }, { values: [1, 2] }] }),
      /vectors\[1\] has 2 dimensions/,
    );
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 1e39]) {
      assert.match(reason({ texts: ["a"], vectors: [{ values: [0, bad] }] }), /not finite/);
    }
    assert.match(reason({ texts: ["x".repeat(100_001)] }), /more than 10000 chunks/);
  });

  test("an overlap that multiplies a text is refused instead of filling the memory", () => {
    const result = cutDocument(documentOf({ texts: ["x".repeat(1_000_000)] }), {
      size: 100_000,
      overlap: 99_999,
    });
    assert.ok("reason" in result);
    assert.match(result.reason, /overlap less/);
  });
});

describe("chunkingOptions", () => {
  test("fills in the defaults", () => {
    assert.deepEqual(chunkingOptions({ chunkSize: 0 }), { size: 1_000, overlap: 100 });
    assert.deepEqual(chunkingOptions({ chunkSize: 50 }), { size: 50, overlap: 25 });
    assert.deepEqual(chunkingOptions({ chunkSize: 50, chunkOverlap: 0 }), { size: 50, overlap: 0 });
    assert.deepEqual(chunkingOptions({ chunkSize: 1 }), { size: 1, overlap: 0 });
  });
});

describe("import checkpoint", () => {
  test("survives the way through a record", () => {
    const checkpoint = { nextOffset: 2 ** 40, ordinal: 7, imported: 5, failed: 2, totalChunks: 90 };
    assert.deepEqual(decodeCheckpoint(encodeCheckpoint(checkpoint)), checkpoint);
  });

  test("what is none is told apart", () => {
    for (const text of ["", "{", "null", "{}", JSON.stringify({ ...IMPORT_START, ordinal: -1 })]) {
      assert.equal(decodeCheckpoint(Buffer.from(text)), undefined);
    }
  });
});

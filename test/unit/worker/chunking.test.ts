import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type ChunkingOptions, chunkSpans } from "../../../services/worker/domain/chunking.ts";

const options: fc.Arbitrary<ChunkingOptions> = fc
  .integer({ min: 1, max: 60 })
  .chain((size) => fc.record({ size: fc.constant(size), overlap: fc.integer({ min: 0, max: size - 1 }) }));
/** Words, sentences, line ends, wide scripts and pairs, as texts have them. */
const texts = fc.oneof(
  fc.string({ unit: "binary", maxLength: 200 }),
  fc
    .array(fc.constantFrom("word ", "a. ", "b!\n\n", "   ", "漢字。", "😀", "x".repeat(30), "\t"), {
      maxLength: 60,
    })
    .map((parts) => parts.join("")),
);

/** Half of a pair: with the u flag a whole pair is one character. */
const LONE = /\p{Surrogate}/u;

function chunks(text: string, size: number, overlap: number): string[] {
  return [...chunkSpans(text, { size, overlap })].map(({ start, end }) => text.slice(start, end));
}

describe("chunking", () => {
  test("every character is in a chunk, no chunk is empty, each goes further", () => {
    fc.assert(
      fc.property(texts, options, (text, chunking) => {
        let covered = 0;
        let lastStart = -1;
        for (const { start, end } of chunkSpans(text, chunking)) {
          assert.ok(start > lastStart && start <= covered && end > covered);
          lastStart = start;
          covered = end;
        }
        assert.equal(covered, text.length);
      }),
      { numRuns: 300 },
    );
  });

  test("chunks keep to size and overlap, but for a pair that would be split", () => {
    fc.assert(
      fc.property(texts, options, (text, chunking) => {
        let lastEnd = 0;
        for (const { start, end } of chunkSpans(text, chunking)) {
          assert.ok(end - start <= chunking.size + 1);
          if (end - start > chunking.size)
            assert.match(text.slice(end - 2, end), /^[\u{10000}-\u{10ffff}]$/u);
          assert.ok(lastEnd - start <= chunking.overlap);
          lastEnd = end;
        }
      }),
      { numRuns: 300 },
    );
  });

  test("surrogate pairs are never split", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 120 }), options, (text, chunking) => {
        fc.pre(!LONE.test(text));
        for (const { start, end } of chunkSpans(text, chunking)) {
          assert.doesNotMatch(text.slice(start, end), LONE);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("a text up to the size is one chunk as it is", () => {
    assert.deepEqual(chunks("  short \n", 9, 3), ["  short \n"]);
    assert.deepEqual(chunks("", 9, 3), []);
  });

  test("cuts behind a sentence of the second half, though words follow", () => {
    assert.deepEqual(chunks("One two three. Four five six seven.", 20, 0), [
      "One two three. ",
      "Four five six seven.",
    ]);
    assert.deepEqual(chunks("He said “go.” Then he went away", 20, 0)[0], "He said “go.” ");
    assert.deepEqual(chunks("一二三四五。六七八九十", 8, 0), ["一二三四五。", "六七八九十"]);
    assert.deepEqual(chunks("a title here\n\nand its text", 16, 0)[0], "a title here\n\n");
  });

  test("cuts behind a word where no sentence ends", () => {
    assert.deepEqual(chunks("alpha beta gamma delta", 12, 0), ["alpha beta ", "gamma delta"]);
  });

  test("cuts anywhere in a text without spaces", () => {
    assert.deepEqual(chunks("abcdefghij", 4, 0), ["abcd", "efgh", "ij"]);
    assert.deepEqual(chunks("abcdefghij", 4, 2), ["abcd", "cdef", "efgh", "ghij"]);
    assert.deepEqual(chunks("😀😀", 1, 0), ["😀", "😀"]);
  });

  test("the overlap begins with a word", () => {
    const [first, second] = chunks("alpha beta gamma delta epsilon", 17, 8);
    assert.equal(first, "alpha beta gamma ");
    assert.equal(second?.startsWith("gamma delta"), true);
  });
});

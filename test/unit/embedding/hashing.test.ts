import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { HashingProvider } from "../../../platform/embedding/hashing.ts";

const never = new AbortController().signal;

async function embedOne(text: string, dimensions = 256): Promise<Float32Array> {
  return new HashingProvider(dimensions).embed([text], never);
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, index) => sum + value * (b[index] ?? Number.NaN), 0);
}

describe("hashing provider", () => {
  test("any text gives a finite row of length 1, in any dimensions", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: "binary", maxLength: 80 }),
        fc.integer({ min: 1, max: 300 }),
        async (text, dimensions) => {
          const row = await embedOne(text, dimensions);
          assert.equal(row.length, dimensions);
          assert.ok(row.every(Number.isFinite));
          assert.ok(Math.abs(dot(row, row) - 1) < 1e-5);
        },
      ),
    );
  });

  test("texts without a word get a row too, each its own", async () => {
    const rows = await Promise.all(["", " ", "!?", "---", "\ud800"].map((text) => embedOne(text)));
    for (const row of rows) assert.ok(Math.abs(dot(row, row) - 1) < 1e-6);
    assert.equal(new Set(rows.map((row) => row.join())).size, rows.length);
  });

  test("a row depends on its text alone, not on batch or provider instance", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ maxLength: 40 }), { maxLength: 8 }), async (texts) => {
        const together = await new HashingProvider(64).embed(texts, never);
        for (const [index, text] of texts.entries()) {
          assert.deepEqual(together.slice(index * 64, (index + 1) * 64), await embedOne(text, 64));
        }
      }),
    );
  });

  test("rows are the same on every machine and in every release", async () => {
    const row = await embedOne("Vector libraries hold documents.", 8);
    const rounded = [...row].map((value) => Number(value.toFixed(4)));
    assert.deepEqual(rounded, GOLDEN);
  });

  test("case, Unicode form and punctuation don't count", async () => {
    const plain = await embedOne("crème brûlée à la carte");
    assert.deepEqual(await embedOne("CRÈME, BRÛLÉE (à la Carte)!"), plain);
    assert.deepEqual(await embedOne("crème brûlée à la carte".normalize("NFD")), plain);
    assert.deepEqual(await embedOne("ﬁle"), await embedOne("FILE"));
  });

  test("shared words and parts of words bring texts near", async () => {
    const query = await embedOne("rebuild the index");
    const near = await embedOne("An index is rebuilt beside the live one; rebuilding takes minutes.");
    const far = await embedOne("Bananas ripen faster in a paper bag next to an apple.");
    assert.ok(dot(query, near) > dot(query, far) + 0.2);
    assert.ok(dot(await embedOne("checkpoints"), await embedOne("checkpoint")) > 0.4);
    assert.ok(dot(await embedOne("東京都の天気"), await embedOne("東京の天気予報")) > 0.25);
  });

  test("order of words counts", async () => {
    assert.notDeepEqual(await embedOne("dog bites man"), await embedOne("man bites dog"));
  });

  test("no texts, no rows", async () => {
    assert.equal((await new HashingProvider(256).embed([], never)).length, 0);
  });

  test("a long call lets the event loop turn and stops when aborted", async () => {
    const abort = new AbortController();
    const reason = new Error("enough");
    const timer = setTimeout(() => abort.abort(reason), 1);
    const texts = Array.from({ length: 200_000 }, (_, index) => `text number ${index} of very many`);
    await assert.rejects(new HashingProvider(256).embed(texts, abort.signal), reason);
    clearTimeout(timer);
  });
});

const GOLDEN = [0.0771, -0.1667, -0.2149, -0.5417, 0.0802, -0.2816, -0.2737, 0.6826];

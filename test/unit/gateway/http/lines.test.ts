import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArrwError } from "../../../../platform/errors.ts";
import { LineMemory, MAX_LINE_BYTES, readLines } from "../../../../services/gateway/http/lines.ts";

async function* chunked(text: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let start = 0; start < text.length; start += size) yield text.subarray(start, start + size);
}

async function linesOf(
  text: Buffer,
  size: number,
  memory = new LineMemory(1e9),
): Promise<[number, string][]> {
  const lines: [number, string][] = [];
  for await (const { number, bytes } of readLines(chunked(text, size), memory)) {
    lines.push([number, bytes.toString()]);
  }
  return lines;
}

test("lines by number, whatever the chunks; blank ones count and are left out", async () => {
  const line = fc.string({ unit: fc.constantFrom("a", "ü", "{", " ", "\t", "x") });
  await fc.assert(
    fc.asyncProperty(fc.array(line), fc.integer({ min: 1, max: 20 }), async (texts, size) => {
      const memory = new LineMemory(1e9);
      const expected = texts.flatMap((text, index) => (text.trim() === "" ? [] : [[index + 1, text.trim()]]));
      assert.deepEqual(await linesOf(Buffer.from(texts.join("\r\n")), size, memory), expected);
      assert.equal(memory.bytes, 0);
    }),
    { numRuns: 100 },
  );
});

test("a byte order mark and a missing last newline", async () => {
  assert.deepEqual(await linesOf(Buffer.from('\ufeff{"a":1}\n\n{"b":2}'), 3), [
    [1, '{"a":1}'],
    [3, '{"b":2}'],
  ]);
});

test("a line above the bound is refused before it is held whole", async () => {
  const memory = new LineMemory(1e9);
  let given = 0;
  async function* endless(): AsyncGenerator<Buffer> {
    yield Buffer.from("first\n");
    for (;;) {
      given += 65_536;
      yield Buffer.alloc(65_536, "x");
    }
  }
  const read = async (): Promise<void> => {
    for await (const _ of readLines(endless(), memory));
  };
  await assert.rejects(read, (error: ArrwError) => {
    assert.equal(error.code, "INVALID_ARGUMENT");
    assert.equal(error.violations[0]?.field, "line 2");
    return true;
  });
  assert.ok(given <= MAX_LINE_BYTES + 2 * 65_536);
  assert.equal(memory.bytes, 0);
});

test("blank lines without end are refused", async () => {
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) yield Buffer.alloc(65_536, "\n");
  }
  const read = async (): Promise<void> => {
    for await (const _ of readLines(endless(), new LineMemory(1e9)));
  };
  await assert.rejects(read, /blank/);
});

test("all unfinished lines share their memory, and give it back", async () => {
  const memory = new LineMemory(1_000);
  const begun = readLines(chunked(Buffer.from(`a\n${"x".repeat(900)}`), 902), memory);
  await begun.next();
  const waiting = begun.next();
  await waiting;
  memory.take(900);
  await assert.rejects(linesOf(Buffer.alloc(200, "y"), 50, memory), (error: unknown) => {
    assert.ok(error instanceof ArrwError);
    assert.equal(error.code, "RESOURCE_EXHAUSTED");
    assert.ok((error.retryAfterMs ?? 0) > 0);
    return true;
  });
  assert.equal(memory.bytes, 900);
});

import { z } from "zod";
import type { DocumentInput } from "../client/index.ts";

/** A line is one document, of at most 4,000,000 bytes on the wire; JSON takes more for the same vectors. */
const MAX_LINE_BYTES = 32_000_000;

const vector = z.union([z.array(z.number()), z.strictObject({ values: z.array(z.number()) })]);

const line = z.strictObject({
  document_id: z.string().optional(),
  title: z.string().optional(),
  texts: z.array(z.string()).min(1),
  metadata: z.record(z.string(), z.unknown()).optional(),
  author: z.string().optional(),
  tags: z.array(z.string()).optional(),
  source_url: z.string().optional(),
  vectors: z.array(vector).optional(),
});

/**
 * Documents in JSON, one a line: {"texts": [...]} and what else is known, by the contract's names; vectors are arrays
 * of numbers. Empty lines are left out.
 * @throws Error "<source>, line <n>: <what is wrong>"
 */
export async function* readNdjson(
  input: AsyncIterable<Uint8Array>,
  source: string,
): AsyncGenerator<DocumentInput> {
  let number = 0;
  for await (const text of lines(input, source)) {
    number += 1;
    if (text.trim() !== "") yield parseLine(text, `${source}, line ${number}`);
  }
}

function parseLine(text: string, where: string): DocumentInput {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
  }
  const parsed = line.safeParse(value);
  if (!parsed.success) {
    const problems = parsed.error.issues.slice(0, 5).map(({ path, message }) => {
      return path.length > 0 ? `${path.join(".")}: ${message}` : message;
    });
    throw new Error(`${where}: ${problems.join("; ")}`);
  }
  const { document_id, title, texts, metadata, author, tags, source_url, vectors } = parsed.data;
  return {
    documentId: document_id ?? "",
    title: title ?? "",
    texts,
    ...(metadata ? { metadata } : {}),
    author: author ?? "",
    tags: tags ?? [],
    sourceUrl: source_url ?? "",
    vectors: (vectors ?? []).map((each) => ({ packed: packed(Array.isArray(each) ? each : each.values) })),
  };
}

function packed(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeFloatLE(value, i * 4);
  return bytes;
}

const NEWLINE = 0x0a;

/** Lines without their ends; of each only its own bytes are held. */
async function* lines(input: AsyncIterable<Uint8Array>, source: string): AsyncGenerator<string> {
  let held: Uint8Array[] = [];
  let size = 0;
  let number = 1;
  const decoder = new TextDecoder();
  const take = (): string => {
    const text = decoder.decode(held.length === 1 ? held[0] : Buffer.concat(held));
    held = [];
    size = 0;
    number += 1;
    return text;
  };
  for await (const chunk of input) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      held.push(chunk.subarray(start, end));
      start = end + 1;
      yield take();
    }
    if (start === chunk.length) continue;
    held.push(chunk.subarray(start));
    size += chunk.length - start;
    if (size > MAX_LINE_BYTES)
      throw new Error(`${source}, line ${number}: longer than ${MAX_LINE_BYTES} bytes`);
  }
  if (size > 0) yield take();
}

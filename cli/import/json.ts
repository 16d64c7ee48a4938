import { type Duplex, pipeline, Readable } from "node:stream";
import { streamArray } from "stream-json/streamers/stream-array.js";
import { streamValues } from "stream-json/streamers/stream-values.js";
import type { DocumentInput } from "../../client/index.ts";
import { UsageError } from "../failure.ts";
import { documentOf } from "./document-json.ts";
import { text } from "./encoding.ts";

/** Of one document: 4,000,000 bytes on the wire; JSON takes more for the same vectors. */
const MAX_DOCUMENT_CHARACTERS = 32_000_000;

/**
 * Documents of an array in JSON of any length, read one after the other; or of one document, or several after each other.
 * @throws UsageError "<source>, document <n>: <what is wrong>"
 */
export async function* readJson(
  input: AsyncIterable<Uint8Array>,
  source: string,
): AsyncGenerator<DocumentInput> {
  let documents = 0;
  let since = 0;
  const where = (): string => `${source}, document ${documents + 1}`;
  async function* bounded(all: AsyncIterable<string>): AsyncGenerator<string> {
    for await (const piece of all) {
      since += piece.length;
      if (since > MAX_DOCUMENT_CHARACTERS)
        throw new UsageError(`${where()}: longer than ${MAX_DOCUMENT_CHARACTERS} characters`);
      yield piece;
    }
  }
  const { first, all } = await begun(text(input, source));
  if (first === "") return;
  if (first !== "[" && first !== "{")
    throw new UsageError(`${source}: expected [ or {; it begins with ${JSON.stringify(first)}`);
  const parser: Duplex = first === "[" ? streamArray.withParserAsStream() : streamValues.withParserAsStream();
  pipeline(Readable.from(bounded(all)), parser, () => undefined);
  try {
    for await (const { value } of parser as AsyncIterable<{ readonly value: unknown }>) {
      since = 0;
      yield documentOf(value, where());
      documents += 1;
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    // It reads ahead: which document that was isn't known.
    throw new UsageError(`${source}: not JSON, or cut off: ${(error as Error).message}`, error);
  }
}

/** The first character that says something, and all of the text. */
async function begun(input: AsyncGenerator<string>): Promise<{ first: string; all: AsyncIterable<string> }> {
  const held: string[] = [];
  let first = "";
  while (first === "") {
    const next = await input.next();
    if (next.done) break;
    held.push(next.value);
    first = next.value.trimStart().slice(0, 1);
  }
  async function* all(): AsyncGenerator<string> {
    yield* held;
    yield* input;
  }
  return { first, all: all() };
}

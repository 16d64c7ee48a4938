import type { DocumentInput } from "../../client/index.ts";
import { UsageError } from "../failure.ts";
import { documentOf } from "./document-json.ts";
import { lines } from "./lines.ts";

/**
 * Documents in JSON, one a line; empty lines are left out.
 * @throws UsageError "<source>, line <n>: <what is wrong>"
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
    throw new UsageError(`${where}: ${(error as Error).message}`, error);
  }
  return documentOf(value, where);
}

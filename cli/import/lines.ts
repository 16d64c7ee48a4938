import { UsageError } from "../failure.ts";

/** A line is one document, of at most 4,000,000 bytes on the wire; JSON takes more for the same vectors. */
const MAX_LINE_BYTES = 32_000_000;
const NEWLINE = 0x0a;

/**
 * Lines of UTF-8 without their ends; of each only its own bytes are held.
 * @throws UsageError "<source>, line <n>: ..." when one is too long, or not UTF-8
 */
export async function* lines(input: AsyncIterable<Uint8Array>, source: string): AsyncGenerator<string> {
  let held: Uint8Array[] = [];
  let size = 0;
  let number = 1;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const take = (): string => {
    let text: string;
    try {
      text = decoder.decode(held.length === 1 ? held[0] : Buffer.concat(held));
    } catch (error) {
      throw new UsageError(`${source}, line ${number}: not UTF-8`, error);
    }
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
      throw new UsageError(`${source}, line ${number}: longer than ${MAX_LINE_BYTES} bytes`);
  }
  if (size > 0) yield take();
}

import { ArrwError, invalidArgument } from "../../../platform/errors.ts";

/** NDJSON as it comes: one line after the other, of which one is held. */

/** Largest line: what a message of gRPC may have. */
export const MAX_LINE_BYTES = 8 * 1024 * 1024;
/** Of blank lines that follow each other: compressed, they cost their sender nothing. */
const MAX_BLANK_BYTES = 1024 * 1024;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

export interface Line {
  /** From 1; blank lines count. */
  readonly number: number;
  readonly bytes: Buffer;
}

/** Memory that all unfinished lines of the process share: who sends a large one slowly holds it for long. */
export class LineMemory {
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @throws RESOURCE_EXHAUSTED when there is no more */
  take(bytes: number): void {
    if (this.#bytes + bytes > this.#maxBytes) {
      throw new ArrwError(
        "RESOURCE_EXHAUSTED",
        `large lines of all uploads take more than ${this.#maxBytes} bytes; try again later`,
        { reason: "TOO_MANY_STREAMS", retryAfterMs: 5_000 },
      );
    }
    this.#bytes += bytes;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
  }
}

/** Lines that are not blank. @throws ArrwError INVALID_ARGUMENT: a line too large, too many blank ones */
export async function* readLines(source: AsyncIterable<Buffer>, memory: LineMemory): AsyncGenerator<Line> {
  let number = 1;
  let blank = 0;
  const begun = new BegunLine(memory);
  const finish = (end: Buffer): Line | undefined => {
    const whole = begun.finish(end);
    const bytes = trimmed(whole, number);
    if (bytes.length > 0) {
      blank = 0;
      return { number, bytes };
    }
    blank += whole.length + 1;
    if (blank <= MAX_BLANK_BYTES) return undefined;
    throw lineRefused(number, `a document; got more than ${MAX_BLANK_BYTES} bytes of blank lines`);
  };
  try {
    for await (const chunk of source) {
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        begun.check(end - start, number);
        const line = finish(chunk.subarray(start, end));
        if (line) yield line;
        number += 1;
        start = end + 1;
      }
      begun.check(chunk.length - start, number);
      begun.add(chunk.subarray(start));
    }
    const last = finish(Buffer.alloc(0));
    if (last) yield last;
  } finally {
    begun.drop();
  }
}

/** INVALID_ARGUMENT about one line. */
export function lineRefused(number: number, description: string, path = ""): ArrwError {
  return invalidArgument([
    { field: path === "" ? `line ${number}` : `line ${number}: ${path}`, description },
  ]);
}

/** The parts of a line that have come so far. */
class BegunLine {
  readonly #memory: LineMemory;
  readonly #parts: Buffer[] = [];
  #bytes = 0;

  constructor(memory: LineMemory) {
    this.#memory = memory;
  }

  check(moreBytes: number, number: number): void {
    const bytes = this.#bytes + moreBytes;
    if (bytes > MAX_LINE_BYTES) throw lineRefused(number, `at most ${MAX_LINE_BYTES} bytes; got more`);
  }

  add(part: Buffer): void {
    if (part.length === 0) return;
    this.#memory.take(part.length);
    this.#parts.push(part);
    this.#bytes += part.length;
  }

  finish(end: Buffer): Buffer {
    if (this.#parts.length === 0) return end;
    const whole = Buffer.concat([...this.#parts, end]);
    this.drop();
    return whole;
  }

  drop(): void {
    this.#memory.give(this.#bytes);
    this.#parts.length = 0;
    this.#bytes = 0;
  }
}

/** Without the mark that some editors begin a file with, the carriage return, and spaces around. */
function trimmed(bytes: Buffer, number: number): Buffer {
  let start = 0;
  let end = bytes.length;
  if (number === 1 && bytes.subarray(0, 3).equals(BYTE_ORDER_MARK)) start = 3;
  while (end > start && isSpace(bytes[end - 1])) end -= 1;
  while (start < end && isSpace(bytes[start])) start += 1;
  return bytes.subarray(start, end);
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09 || byte === RETURN;
}

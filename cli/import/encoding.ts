import { pipeline, Readable } from "node:stream";
import { TextDecoder } from "node:util";
import { createGunzip } from "node:zlib";
import { UsageError } from "../failure.ts";

/** Bytes of a file or of stdin, as UTF-8 and unpacked, however they are stored. */

export interface EncodingOptions {
  /** A label of the WHATWG's encodings, "windows-1252"; default: UTF-8, or UTF-16 where a byte order mark says so. */
  readonly encoding?: string;
}

/**
 * Unpacks gzip, by its magic number; makes other encodings UTF-8, without a byte order mark.
 * @throws UsageError "<source>: ..." damaged gzip, bytes that are not of the encoding
 */
export async function* readable(
  input: AsyncIterable<Uint8Array>,
  source: string,
  { encoding }: EncodingOptions = {},
): AsyncGenerator<Uint8Array> {
  const [head, packed] = await peeked(input);
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  const [begin, bytes] = isGzip ? await peeked(gunzipped(packed, source)) : [head, packed];
  const label = encoding ?? markedEncoding(begin);
  if (label === undefined) {
    yield* withoutMark(bytes);
    return;
  }
  yield* transcoded(bytes, source, label);
}

const PEEKED = 3;

/** The first bytes, and all of them. */
async function peeked(input: AsyncIterable<Uint8Array>): Promise<[Buffer, AsyncGenerator<Uint8Array>]> {
  const iterator = input[Symbol.asyncIterator]();
  const held: Uint8Array[] = [];
  let size = 0;
  while (size < PEEKED) {
    const next = await iterator.next();
    if (next.done) break;
    held.push(next.value);
    size += next.value.length;
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    try {
      yield* held;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  }
  return [Buffer.concat(held).subarray(0, PEEKED), all()];
}

async function* gunzipped(input: AsyncIterable<Uint8Array>, source: string): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip();
  // The iteration reports what goes wrong.
  pipeline(Readable.from(input), gunzip, () => undefined);
  try {
    yield* gunzip as AsyncIterable<Uint8Array>;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!code?.startsWith("Z_")) throw error;
    throw new UsageError(`${source}: damaged gzip: ${message}`, error);
  }
}

function markedEncoding(head: Uint8Array): string | undefined {
  if (head[0] === 0xff && head[1] === 0xfe) return "utf-16le";
  if (head[0] === 0xfe && head[1] === 0xff) return "utf-16be";
  return undefined;
}

async function* withoutMark(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let [first, at] = [true, 0];
  for await (const chunk of input) {
    const marked = first && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf;
    at = marked ? 3 : 0;
    first = false;
    yield at === 0 ? chunk : chunk.subarray(at);
  }
}

async function* transcoded(
  input: AsyncIterable<Uint8Array>,
  source: string,
  label: string,
): AsyncGenerator<Uint8Array> {
  const decoder = decoderOf(label);
  const encoder = new TextEncoder();
  try {
    for await (const chunk of input) yield encoder.encode(decoder.decode(chunk, { stream: true }));
    yield encoder.encode(decoder.decode());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_ENCODING_INVALID_ENCODED_DATA") throw error;
    throw new UsageError(`${source}: not ${label}`, error);
  }
}

/** @throws UsageError an unknown label */
export function decoderOf(label: string): TextDecoder {
  try {
    return new TextDecoder(label, { fatal: true });
  } catch (error) {
    throw new UsageError(`--encoding: ${label} is none; as utf-8, utf-16le, windows-1252`, error);
  }
}

/** @throws UsageError "<source>: not UTF-8; ..." */
export async function* text(input: AsyncIterable<Uint8Array>, source: string): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const chunk of input) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_ENCODING_INVALID_ENCODED_DATA") throw error;
    throw new UsageError(`${source}: not UTF-8; --encoding says what it is`, error);
  }
}

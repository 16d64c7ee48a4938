import { BinaryReader } from "@bufbuild/protobuf/wire";
import { ArrwError } from "./errors.ts";

/** Protobuf messages one after the other, each behind its length as a varint: the format of payloads. */

/** Largest single message in a payload. */
export const MAX_DELIMITED_BYTES = 64 * 1024 * 1024;

/** The message's bytes behind their length. */
export function delimited(message: Uint8Array): Uint8Array {
  let prefixBytes = 1;
  for (let left = message.length; left >= 0x80; left >>>= 7) prefixBytes += 1;
  // Copied once into a buffer of the right size.
  const bytes = Buffer.allocUnsafe(prefixBytes + message.length);
  let length = message.length;
  let at = 0;
  for (; length >= 0x80; length >>>= 7) bytes[at++] = (length & 0x7f) | 0x80;
  bytes[at++] = length;
  bytes.set(message, at);
  return bytes;
}

/** One message with the offset behind it: where a reader goes on that has dealt with it. */
export interface DelimitedMessage {
  readonly bytes: Uint8Array;
  readonly nextOffset: number;
}

/**
 * Cuts a byte stream, which starts at `offset` of the payload, into messages.
 * @throws ArrwError DATA_LOSS when it ends within a message or a length is out of bounds
 */
export async function* readDelimited(
  source: AsyncIterable<Uint8Array>,
  offset: number,
): AsyncGenerator<DelimitedMessage> {
  let rest: Uint8Array = new Uint8Array(0);
  let position = offset;
  for await (const chunk of source) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (;;) {
      const length = readLength(rest, start);
      if (!length || length.end + length.value > rest.length) break;
      const end = length.end + length.value;
      position += end - start;
      yield { bytes: rest.subarray(length.end, end), nextOffset: position };
      start = end;
    }
    rest = rest.subarray(start);
  }
  if (rest.length > 0)
    throw new ArrwError("DATA_LOSS", `the payload ends within a message at byte ${position}`);
}

function readLength(bytes: Uint8Array, start: number): { value: number; end: number } | undefined {
  const head = bytes.subarray(start, start + 5);
  const last = head.findIndex((byte) => byte < 0x80);
  if (last < 0) {
    if (head.length === 5) throw new ArrwError("DATA_LOSS", "the payload has a length out of bounds");
    return undefined;
  }
  const value = new BinaryReader(head.subarray(0, last + 1)).uint32();
  if (value > MAX_DELIMITED_BYTES) throw new ArrwError("DATA_LOSS", "the payload has a length out of bounds");
  return { value, end: start + last + 1 };
}

import { BinaryReader } from "@bufbuild/protobuf/wire";

/** Looks into encoded messages without decoding them: what is handed on as it came costs one pass over its tags. */

const LENGTH_DELIMITED = 2;

/**
 * The values of one length-delimited field, in order, as views of the message.
 * @throws Error when the message is malformed
 */
export function fieldBytes(message: Uint8Array, field: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const values: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (number === field && wireType === LENGTH_DELIMITED) values.push(reader.bytes());
    else reader.skip(wireType, number);
  }
  return values;
}

/**
 * How often a length-delimited field occurs at the end of a path of such fields, in all of their occurrences: without an
 * object for any of them.
 * @throws Error when the message is malformed
 */
export function countAt(message: Uint8Array, [field, ...rest]: readonly number[]): number {
  const reader = new BinaryReader(message);
  let count = 0;
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (number !== field || wireType !== LENGTH_DELIMITED) reader.skip(wireType, number);
    else if (rest.length > 0) count += countAt(reader.bytes(), rest);
    else {
      reader.skip(wireType, number);
      count += 1;
    }
  }
  return count;
}

/** The field's last value, which is the one that counts; undefined = it is not set. */
export function lastFieldBytes(message: Uint8Array, field: number): Uint8Array | undefined {
  return fieldBytes(message, field).at(-1);
}

/** Of several length-delimited fields the one that comes last: of a oneof, the one that counts. */
export function lastOfFields(
  message: Uint8Array,
  fields: readonly number[],
): { readonly field: number; readonly bytes: Uint8Array } | undefined {
  const reader = new BinaryReader(message);
  let last: { field: number; bytes: Uint8Array } | undefined;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType === LENGTH_DELIMITED && fields.includes(field)) last = { field, bytes: reader.bytes() };
    else reader.skip(wireType, field);
  }
  return last;
}

/** Where the occurrences of a field are, their tags included, in order. */
export function fieldSpans(
  message: Uint8Array,
  field: number,
): { readonly start: number; readonly end: number }[] {
  const reader = new BinaryReader(message);
  const spans: { start: number; end: number }[] = [];
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [number, wireType] = reader.tag();
    reader.skip(wireType, number);
    if (number === field) spans.push({ start, end: reader.pos });
  }
  return spans;
}

/** The message's first field if it is a string with that number; undefined = it is something else. */
export function leadingString(message: Uint8Array, field: number): string | undefined {
  if (message[0] !== ((field << 3) | LENGTH_DELIMITED)) return undefined;
  const length = message[1];
  // Ids are shorter than 128 bytes: a length of more than one byte is none of ours.
  if (length === undefined || length >= 0x80 || message.length < 2 + length) return undefined;
  return Buffer.from(message.buffer, message.byteOffset + 2, length).toString("latin1");
}

/** A message of such fields alone, by number (below 16), copied once into a buffer of the right size. */
export function lengthDelimited(fields: readonly (readonly [number, Uint8Array])[]): Buffer {
  let size = 0;
  for (const [, bytes] of fields) size += 1 + varintSize(bytes.length) + bytes.length;
  const message = Buffer.allocUnsafe(size);
  let at = 0;
  for (const [number, bytes] of fields) {
    message[at++] = (number << 3) | LENGTH_DELIMITED;
    let length = bytes.length;
    for (; length >= 0x80; length >>>= 7) message[at++] = (length & 0x7f) | 0x80;
    message[at++] = length;
    message.set(bytes, at);
    at += bytes.length;
  }
  return message;
}

function varintSize(value: number): number {
  let size = 1;
  for (let left = value; left >= 0x80; left >>>= 7) size += 1;
  return size;
}

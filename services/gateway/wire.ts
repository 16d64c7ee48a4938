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

/** The field's last value, which is the one that counts; undefined = it is not set. */
export function lastFieldBytes(message: Uint8Array, field: number): Uint8Array | undefined {
  return fieldBytes(message, field).at(-1);
}

/** The message's first field if it is a string with that number; undefined = it is something else. */
export function leadingString(message: Uint8Array, field: number): string | undefined {
  if (message[0] !== ((field << 3) | LENGTH_DELIMITED)) return undefined;
  const length = message[1];
  // Ids are shorter than 128 bytes: a length of more than one byte is none of ours.
  if (length === undefined || length >= 0x80 || message.length < 2 + length) return undefined;
  return Buffer.from(message.buffer, message.byteOffset + 2, length).toString("latin1");
}

import { BinaryWriter } from "@bufbuild/protobuf/wire";

/** A generated message type, as far as encoding needs it. */
interface Encodable<T> {
  encode(message: T, writer?: BinaryWriter): BinaryWriter;
}

/** A writer keeps its buffer when it is finished; one that grew beyond this is not kept. */
const KEEP_BYTES = 2 * 1024 * 1024;

let shared = new BinaryWriter();

/**
 * Encodes with one writer for all: a new one per message grows its buffer from nothing each time, which took a tenth
 * of the scheduler's time. The result is a copy of its own.
 */
export function encode<T>(type: Encodable<T>, message: T): Buffer {
  const writer = shared;
  // An encoder that throws would leave its bytes behind for the next message.
  shared = new BinaryWriter();
  const bytes = type.encode(message, writer).finish();
  if (bytes.length <= KEEP_BYTES) shared = writer;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

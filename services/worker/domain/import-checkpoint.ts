/** Where an import goes on: everything before it is in the index. */
export interface ImportCheckpoint {
  /** Byte of the payload. */
  readonly nextOffset: number;
  /** Documents before it. */
  readonly ordinal: number;
  readonly imported: number;
  readonly failed: number;
  readonly totalChunks: number;
}

export const IMPORT_START: ImportCheckpoint = {
  nextOffset: 0,
  ordinal: 0,
  imported: 0,
  failed: 0,
  totalChunks: 0,
};

export function encodeCheckpoint(checkpoint: ImportCheckpoint): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(checkpoint));
}

/** The checkpoint, or undefined when the bytes are none: then starting over is right, since imports are idempotent. */
export function decodeCheckpoint(bytes: Uint8Array): ImportCheckpoint | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const numbers = Object.keys(IMPORT_START).map((name) => fields[name]);
  const whole = numbers.every((number) => Number.isSafeInteger(number) && Number(number) >= 0);
  return whole ? (value as ImportCheckpoint) : undefined;
}

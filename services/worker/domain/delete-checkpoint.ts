/** Where a batch_delete goes on: everything before it is done. */
export interface DeleteCheckpoint {
  /** Byte of the payload; of ids. */
  readonly nextOffset: number;
  /** Page of the list; of a filter. */
  readonly pageToken: string;
  /** Items before it. */
  readonly ordinal: number;
  readonly deleted: number;
  readonly failed: number;
}

export const DELETE_START: DeleteCheckpoint = {
  nextOffset: 0,
  pageToken: "",
  ordinal: 0,
  deleted: 0,
  failed: 0,
};

export function encodeDeleteCheckpoint(checkpoint: DeleteCheckpoint): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(checkpoint));
}

/** The checkpoint, or undefined when the bytes are none. */
export function decodeDeleteCheckpoint(bytes: Uint8Array): DeleteCheckpoint | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { pageToken, ...numbers } = value as Record<string, unknown>;
  const names = ["nextOffset", "ordinal", "deleted", "failed"];
  const whole = names.every((name) => Number.isSafeInteger(numbers[name]) && Number(numbers[name]) >= 0);
  return whole && typeof pageToken === "string" ? (value as DeleteCheckpoint) : undefined;
}

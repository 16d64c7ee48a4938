/**
 * Cursors of WatchJobs: a position in the journal, opaque to clients. "1:<sequence>:<index>" stands behind that record
 * of that batch, "1:<sequence>" behind the whole batch; base64url.
 */

export interface Cursor {
  readonly sequence: number;
  /** undefined = all records of the batch. */
  readonly index: number | undefined;
}

/** A record of the journal: its batch's sequence, its place in the batch from 0. */
export interface Position {
  readonly sequence: number;
  readonly index: number;
}

const FORMAT = /^1:(0|[1-9]\d{0,14})(?::(0|[1-9]\d{0,8}))?$/;
const MAX_CHARACTERS = 64;

export function formatCursor(sequence: number, index?: number): string {
  const text = index === undefined ? `1:${sequence}` : `1:${sequence}:${index}`;
  return Buffer.from(text, "latin1").toString("base64url");
}

/** undefined = not one of ours. */
export function parseCursor(text: string): Cursor | undefined {
  if (text.length > MAX_CHARACTERS) return undefined;
  const plain = Buffer.from(text, "base64url").toString("latin1");
  // The decoder passes over what is not base64url.
  if (Buffer.from(plain, "latin1").toString("base64url") !== text) return undefined;
  const [, sequence, index] = FORMAT.exec(plain) ?? [];
  if (sequence === undefined) return undefined;
  return { sequence: Number(sequence), index: index === undefined ? undefined : Number(index) };
}

/** The first record that a watch behind the cursor gives. */
export function behind({ sequence, index }: Cursor): Position {
  return index === undefined ? { sequence: sequence + 1, index: 0 } : { sequence, index: index + 1 };
}

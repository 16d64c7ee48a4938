/**
 * Cursors of a library's events, opaque to clients: "1:<library>:<created>:<change>:<index>", base64url. One names the
 * next event to come: that of the change with this index. The number and the time of creation tell libraries apart,
 * also one that was deleted and made again, and one of another data folder.
 */

export interface ChangePosition {
  readonly change: number;
  /** Place among the change's events, from 0. */
  readonly index: number;
}

/** What a library is told by. */
export interface CursorLibrary {
  readonly number: number;
  readonly createdAtMs: number;
}

const FORMAT = /^1:([1-9]\d{0,14}):(0|[1-9]\d{0,14}):([1-9]\d{0,14}):(0|[1-9]\d{0,8})$/;
const MAX_CHARACTERS = 128;

export function formatCursor({ number, createdAtMs }: CursorLibrary, position: ChangePosition): string {
  const text = `1:${number}:${createdAtMs}:${position.change}:${position.index}`;
  return Buffer.from(text, "latin1").toString("base64url");
}

/** undefined = not one of this library's. */
export function parseCursor(library: CursorLibrary, text: string): ChangePosition | undefined {
  if (text.length > MAX_CHARACTERS) return undefined;
  const plain = Buffer.from(text, "base64url").toString("latin1");
  // The decoder passes over what is not base64url.
  if (Buffer.from(plain, "latin1").toString("base64url") !== text) return undefined;
  const [, number, createdAtMs, change, index] = FORMAT.exec(plain) ?? [];
  if (Number(number) !== library.number || Number(createdAtMs) !== library.createdAtMs) return undefined;
  return { change: Number(change), index: Number(index) };
}

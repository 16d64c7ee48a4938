import type { JobAttempt } from "../../../proto/gen/arrwdb/v1/jobs.ts";

/** A job's log: messages of a stream, each with lines of one lease, and how far a reader is in it. */

/** The most that a reader is given of what is stored: the newest. */
export const MAX_LINES = 1_000;
export const MAX_BYTES = 256 * 1024;

export interface LogMessage<T> {
  /** In the stream. */
  readonly sequence: number;
  readonly lease: bigint;
  /** Number of the first line within the lease; the others follow. */
  readonly firstLine: number;
  readonly lines: readonly T[];
}

/**
 * A reader's position, which is what a cursor says. It moves only on: messages that are stored twice, and those of a lease
 * that has passed to another, bring nothing.
 */
export class LogPosition {
  /** Of the message that was read last; a part of it may be left. */
  readonly sequence: number;
  readonly lease: bigint;
  /** Number of the first line of the lease that was not read. */
  readonly nextLine: number;

  constructor(sequence: number, lease: bigint, nextLine: number) {
    this.sequence = sequence;
    this.lease = lease;
    this.nextLine = nextLine;
  }

  /** "" = the start; undefined = not a cursor. */
  static parse(cursor: string): LogPosition | undefined {
    if (cursor === "") return LOG_START;
    const [, sequence, lease, line] = /^(\d{1,15})-(\d{1,18})-(\d{1,10})$/.exec(cursor) ?? [];
    if (sequence === undefined || lease === undefined) return undefined;
    return new LogPosition(Number(sequence), BigInt(lease), Number(line));
  }

  toString(): string {
    return `${this.sequence}-${this.lease}-${this.nextLine}`;
  }

  /** The lines of a message that are new, and the position behind it. */
  take<T>(message: LogMessage<T>): { readonly lines: readonly T[]; readonly position: LogPosition } {
    const { sequence, lease, firstLine, lines } = message;
    if (sequence < this.sequence || lease < this.lease) return { lines: [], position: this };
    const next = lease === this.lease ? this.nextLine : 1;
    const known = Math.max(0, next - firstLine);
    const position = new LogPosition(sequence, lease, Math.max(next, firstLine + lines.length));
    return { lines: known === 0 ? lines : lines.slice(known), position };
  }
}

export const LOG_START = new LogPosition(0, 0n, 1);

/** Whether a lease can't be the job's. A job knows its last attempts; of what is older or newer nothing is known. */
export function isForeign(lease: bigint, attempts: readonly Pick<JobAttempt, "lease">[]): boolean {
  const leases = attempts.map((attempt) => attempt.lease);
  return (
    leases.some((each) => each < lease) && leases.some((each) => each > lease) && !leases.includes(lease)
  );
}

/** The newest lines of those that are pushed, within the bounds. */
export class NewestLines<T extends { readonly length: number }> {
  #lines: T[] = [];
  #first = 0;
  #bytes = 0;

  push(line: T): void {
    this.#lines.push(line);
    this.#bytes += line.length;
    while (this.#lines.length - this.#first > MAX_LINES || this.#bytes > MAX_BYTES) {
      this.#bytes -= this.#lines[this.#first]?.length ?? 0;
      this.#first += 1;
    }
    if (this.#first < MAX_LINES) return;
    this.#lines = this.#lines.slice(this.#first);
    this.#first = 0;
  }

  get lines(): readonly T[] {
    return this.#lines.slice(this.#first);
  }
}

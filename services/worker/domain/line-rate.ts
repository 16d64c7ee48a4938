/**
 * How much one lease may log: at once what readers get to see of a job, then a rate. A part of it is kept for warnings
 * and errors, so that a flood of other lines doesn't hide them.
 */

export const BURST_LINES = 1_000;
export const BURST_BYTES = 256 * 1024;
export const LINES_PER_SECOND = 100;
export const BYTES_PER_SECOND = 16 * 1024;
/** For warnings and errors. */
const RESERVED = 0.1;

export class LineRate {
  #lines = BURST_LINES;
  #bytes = BURST_BYTES;
  #filledAtMs: number;

  constructor(nowMs: number) {
    this.#filledAtMs = nowMs;
  }

  /** Whether so much may be logged now; it is counted if so. */
  take(lines: number, bytes: number, urgent: boolean, nowMs: number): boolean {
    const seconds = Math.max(0, nowMs - this.#filledAtMs) / 1_000;
    this.#filledAtMs = nowMs;
    this.#lines = Math.min(BURST_LINES, this.#lines + seconds * LINES_PER_SECOND);
    this.#bytes = Math.min(BURST_BYTES, this.#bytes + seconds * BYTES_PER_SECOND);
    const reserved = urgent ? 0 : RESERVED;
    if (this.#lines - lines < BURST_LINES * reserved || this.#bytes - bytes < BURST_BYTES * reserved) {
      return false;
    }
    this.#lines -= lines;
    this.#bytes -= bytes;
    return true;
  }
}

import { randomFillSync } from "node:crypto";
import { v7 } from "uuid";

/**
 * Ids of new jobs: UUIDv7, growing within the process. Randomness is drawn for many at a time: a draw costs more than
 * all the rest of taking in a job.
 */

const RANDOM_BYTES = 16;
const pool = Buffer.alloc(RANDOM_BYTES * 512);
let used = pool.length;
let lastMs = 0;
let sequence = 0;

export function newJobId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const random = pool.subarray(used, used + RANDOM_BYTES);
  used += RANDOM_BYTES;
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    // Half the range is left for the ids of the same millisecond.
    sequence = random.readUInt32LE(0) >>> 1;
  } else sequence += 1;
  return v7({ random, msecs: lastMs, seq: sequence });
}

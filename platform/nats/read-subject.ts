import { setTimeout as delay } from "node:timers/promises";
import { unavailable } from "../errors.ts";
import type { BatchRange, StoredMessage } from "./direct-batch.ts";

export interface ReadSubjectOptions {
  readonly stream: string;
  readonly subject: string;
  readonly from: number;
  /** The last sequence wanted, which must be stored. */
  readonly to: number;
  readonly onMessage: (message: StoredMessage) => void;
  /** Silence that counts as a stall. */
  readonly timeoutMs: number;
}

const BATCH_MESSAGES = 256;
const BATCH_BYTES = 4 * 1024 * 1024;
const RETRY_MS = 100;

/** Reads a part of what a stream has of a subject, in order. @throws ArrwError UNAVAILABLE; what `onMessage` throws */
export async function readSubject(
  getBatch: (stream: string, range: BatchRange) => Promise<StoredMessage[]>,
  { stream, subject, from, to, onMessage, timeoutMs }: ReadSubjectOptions,
): Promise<void> {
  let heardAt = performance.now();
  for (let next = Math.max(1, from); next <= to; ) {
    const range = { subject, from: next, maxMessages: BATCH_MESSAGES, maxBytes: BATCH_BYTES };
    const messages = await getBatch(stream, range);
    for (const message of messages) {
      if (message.sequence > to) return;
      onMessage(message);
      next = message.sequence + 1;
    }
    if (messages.length > 0) heardAt = performance.now();
    else if (performance.now() - heardAt > timeoutMs) throw unavailable(`reading ${stream} stalled`);
    // A replica that lags has not got what is stored.
    else await delay(RETRY_MS);
  }
}

import { unavailable } from "../errors.ts";
import type { StreamMessage, Tail, TailOptions } from "./tail.ts";

export interface ReadRangeOptions {
  readonly stream: string;
  readonly fromSequence: number;
  /** The last sequence wanted, which must be stored. */
  readonly toSequence: number;
  readonly filterSubject?: string;
  readonly onMessage: (message: StreamMessage) => void;
  /** Silence that counts as a stall. */
  readonly timeoutMs: number;
}

type MakeTail = (options: Omit<TailOptions, "onReconnect">) => Tail;

/**
 * Reads a part of a stream in order.
 * @throws ArrwError UNAVAILABLE when it stalls; what `onMessage` throws
 */
export async function readRange(makeTail: MakeTail, options: ReadRangeOptions): Promise<void> {
  const { stream, fromSequence, toSequence, filterSubject, onMessage, timeoutMs } = options;
  let heardAt = performance.now();
  let tail: Tail | undefined;
  let watchdog: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      watchdog = setInterval(() => {
        if (performance.now() - heardAt > timeoutMs) reject(unavailable(`reading ${stream} stalled`));
      }, 250);
      const onEach = (message: StreamMessage): void => {
        heardAt = performance.now();
        try {
          if (message.sequence <= toSequence) onMessage(message);
        } catch (error) {
          reject(error);
        }
        // Nothing pending says little: a replica that lags has not got what is stored.
        if (message.sequence >= toSequence) resolve();
      };
      tail = makeTail({
        stream,
        fromSequence,
        onMessage: onEach,
        ...(filterSubject === undefined ? {} : { filterSubject }),
      });
      tail.start().catch(reject);
    });
  } finally {
    clearInterval(watchdog);
    await tail?.stop();
  }
}

import { type CallOptions, type ClientReadableStream, Metadata } from "@grpc/grpc-js";
import { asksForPatience, backoffMs, isTransient, pause } from "./calls.ts";
import { type ClientError, cancelled, toClientError } from "./error.ts";

/** Streams that go on where they broke. */

export interface ResumeOptions {
  /** Time for all of it; default: none. */
  readonly timeoutMs?: number;
  /** How long it tries to go on while the system can't be reached; default 60,000. */
  readonly reconnectTimeoutMs?: number;
  /** Called when the stream broke and is resumed. */
  readonly onInterrupted?: (error: ClientError) => void;
  readonly signal?: AbortSignal;
}

type OpenStream<R> = (metadata: Metadata, options: Partial<CallOptions>) => ClientReadableStream<R>;

/** One stream's life, so that also this call has a deadline; it is resumed after. */
const STREAM_MS = 3_600_000;
const RECONNECT_MS = 60_000;

/** All that the streams bring; `open` is called for each of them, and has to ask for what it has not seen yet. */
export async function* resumed<R>(open: OpenStream<R>, options: ResumeOptions): AsyncGenerator<R> {
  const endsMs = Date.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
  let failures = 0;
  let lostAtMs = 0;
  for (;;) {
    let received = false;
    const streamEndsMs = Math.min(endsMs, Date.now() + STREAM_MS);
    try {
      for await (const message of oneStream(open, streamEndsMs, options.signal)) {
        received = true;
        failures = 0;
        yield message;
      }
      return;
    } catch (thrown) {
      const error = toClientError(thrown);
      if (!resumable(error, received, endsMs, options.signal)) throw error;
      failures += 1;
      if (failures === 1) lostAtMs = Date.now();
      const waitMs = backoffMs(failures, error);
      const patienceMs = lostAtMs + (options.reconnectTimeoutMs ?? RECONNECT_MS);
      if (Date.now() + waitMs > Math.min(endsMs, patienceMs)) throw error;
      options.onInterrupted?.(error);
      await pause(waitMs, options.signal);
    }
  }
}

function resumable(
  error: ClientError,
  received: boolean,
  endsMs: number,
  signal: AbortSignal | undefined,
): boolean {
  if (error.code === "DEADLINE_EXCEEDED") return Date.now() < endsMs;
  // The stream was too far behind, and has moved on since.
  if (error.code === "RESOURCE_EXHAUSTED") return received || asksForPatience(error);
  return isTransient(error, signal);
}

/** Leaving the loop cancels the call. @throws ClientError */
async function* oneStream<R>(
  open: OpenStream<R>,
  deadline: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<R> {
  if (signal?.aborted) throw cancelled(signal);
  const stream = open(new Metadata(), { deadline });
  const onAbort = (): void => stream.cancel();
  signal?.addEventListener("abort", onAbort, { once: true });
  // The iteration reports the error; one after its end has no one to tell.
  stream.on("error", () => undefined);
  try {
    for await (const message of stream as AsyncIterable<R>) yield message;
  } catch (error) {
    throw signal?.aborted ? cancelled(signal) : toClientError(error);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    stream.cancel();
  }
}

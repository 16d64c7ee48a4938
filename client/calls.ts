import { setTimeout as delay } from "node:timers/promises";
import {
  type CallOptions,
  type Client,
  type ClientUnaryCall,
  connectivityState,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { ClientError, cancelled, fromServiceError, toClientError } from "./error.ts";

export interface CallSettings {
  /** Time for the call with its repetitions; default: the client's `timeoutMs`. */
  readonly timeoutMs?: number;
  /** Aborting it ends the call with CANCELLED. */
  readonly signal?: AbortSignal;
}

/** A call's end as Unix ms. */
export interface Deadline {
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
}

type UnaryMethod<Q, R> = (
  request: Q,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: R) => void,
) => ClientUnaryCall;

/** One attempt. @throws ClientError */
export function unary<Q, R>(
  client: Client,
  method: UnaryMethod<Q, R>,
  request: Q,
  call: Deadline,
): Promise<R> {
  const { deadlineMs, signal } = call;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(cancelled(signal));
    const onAbort = (): void => running.cancel();
    const running = method.call(
      client,
      request,
      new Metadata(),
      { deadline: deadlineMs },
      (error, response) => {
        signal?.removeEventListener("abort", onAbort);
        if (!error) resolve(response);
        else reject(signal?.aborted ? cancelled(signal) : fromServiceError(error));
      },
    );
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * A call that may be repeated without harm: it is when the system can't be reached or is above a limit, until the
 * deadline. `settle` may turn an attempt's error into a response; attempts count from 1, without those that a limit
 * refused.
 * @throws ClientError the last attempt's
 */
export async function repeatedly<Q, R>(
  client: Client,
  method: UnaryMethod<Q, R>,
  request: Q,
  call: Deadline,
  settle?: (error: ClientError, attempt: number) => R | undefined,
): Promise<R> {
  let refusals = 0;
  for (let attempt = 1; ; attempt++) {
    try {
      return await unary(client, method, request, call);
    } catch (thrown) {
      const error = toClientError(thrown);
      const settled = settle?.(error, attempt - refusals);
      if (settled !== undefined) return settled;
      const refused = asksForPatience(error);
      if (!refused && !isTransient(error, call.signal)) throw error;
      if (refused) refusals += 1;
      const waitMs = backoffMs(attempt, error);
      if (Date.now() + waitMs >= call.deadlineMs) throw error;
      await pause(waitMs, call.signal);
    }
  }
}

/**
 * The system couldn't answer, or the connection broke: that shows as UNAVAILABLE, as CANCELLED when the server let go
 * of the call, as INTERNAL in the midst of a message.
 */
export function isTransient(error: ClientError, signal: AbortSignal | undefined): boolean {
  if (error.code === "UNAVAILABLE") return true;
  if (error.code === "CANCELLED") return !signal?.aborted;
  return error.code === "INTERNAL" && /RST_STREAM|GOAWAY|ECONNRESET/.test(error.message);
}

/** Refused by a limit, with the time after which it may be tried again. */
export function asksForPatience(error: ClientError): boolean {
  return error.code === "RESOURCE_EXHAUSTED" && error.retryAfterMs !== undefined;
}

const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 2_000;

/** Doubling from 50 ms to 2 s, between half and all of it; at least what the server asks for. */
export function backoffMs(attempt: number, error: ClientError): number {
  const most = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (attempt - 1));
  return Math.max(error.retryAfterMs ?? 0, most * (0.5 + Math.random() / 2));
}

/** @throws ClientError CANCELLED */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    throw signal?.aborted ? cancelled(signal) : error;
  }
}

/**
 * Resolves when the channel is connected.
 * @throws ClientError UNAVAILABLE as soon as the address refuses, or at the deadline
 */
export async function connected(client: Client, address: string, deadlineMs: number): Promise<void> {
  const channel = client.getChannel();
  for (;;) {
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) return;
    if (state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN) {
      throw new ClientError("UNAVAILABLE", `no connection to ${address}`);
    }
    await new Promise<void>((resolve, reject) => {
      channel.watchConnectivityState(state, deadlineMs, (error) => {
        if (!error) resolve();
        else reject(new ClientError("UNAVAILABLE", `no connection to ${address} in time`));
      });
    });
  }
}

/** A deletion whose reply was lost finds nothing to delete when it is repeated. */
export function goneMeanwhile(error: ClientError, attempt: number): object | undefined {
  return attempt > 1 && error.code === "NOT_FOUND" ? {} : undefined;
}

/** What a reply has to have. */
export function present<T>(message: T | undefined, what: string): T {
  if (message === undefined) throw new ClientError("INTERNAL", `the server answered without a ${what}`);
  return message;
}

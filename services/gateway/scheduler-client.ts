import { setTimeout as delay } from "node:timers/promises";
import { type ArrwError, toArrwError, unavailable } from "../../platform/errors.ts";
import type { ConnectOptions } from "../../platform/grpc/client.ts";
import type { Part } from "../../platform/lifecycle.ts";
import { LeaderFinder } from "./leader-finder.ts";
import { isAway } from "./repeat.ts";
import { SchedulerChannels } from "./scheduler-channels.ts";

/**
 * Calls to the scheduler that leads. Requests and replies are bytes: what a client sent and what it gets is mostly
 * handed on as it is. A call that meets UNAVAILABLE (the scheduler is gone, or does not lead any more) is repeated
 * with the same bytes, hence the same ids, at the one that leads then, until the client's deadline. Reads go to a
 * standby while none leads.
 */

export interface SchedulerCall {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** The call is about to be repeated, and may have been carried out all the same. What it throws ends the call. */
  readonly onUncertain?: (error: ArrwError) => void;
}

/** A call on its way to one scheduler. */
interface Attempt {
  readonly address: string;
  readonly reads: boolean;
  readonly startedAtMs: number;
  readonly abort: AbortController;
}

/** What is left of the deadline for the way back to the client. */
const MARGIN_MS = 50;
const FIRST_BACKOFF_MS = 25;
const MAX_BACKOFF_MS = 250;
/** A call that takes longer makes the gateway ask whether another scheduler leads by now: this one may be frozen. */
const PATIENCE_MS = 1_000;
const CHECK_MS = 250;

export class SchedulerClient implements Part {
  readonly name = "scheduler client";
  readonly #channels: SchedulerChannels;
  readonly #finder: LeaderFinder;
  /** Oldest first. */
  readonly #attempts = new Set<Attempt>();
  #check: NodeJS.Timeout | undefined;
  #checking = false;
  #stopped = false;

  /** `addresses`: "host:port[,host:port]". */
  constructor(addresses: string, tls?: ConnectOptions["tls"]) {
    const configured = [...new Set(addresses.split(","))];
    this.#channels = new SchedulerChannels(configured, tls);
    this.#finder = new LeaderFinder({
      addresses: configured,
      ask: (address) => this.#channels.ask(address),
    });
  }

  async start(): Promise<void> {
    this.#channels.open();
    this.#check = setInterval(() => void this.#leaveFrozen(), CHECK_MS);
    this.#check.unref();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#check);
    this.#channels.close();
  }

  /** undefined when any scheduler is connected: whether one leads shows with the calls. */
  unready(): string | undefined {
    return this.#channels.unready();
  }

  /** `method` is one of SchedulerServiceService. @throws ArrwError */
  async call(method: { readonly path: string }, request: Buffer, call: SchedulerCall): Promise<Buffer> {
    const { signal } = call;
    const deadlineMs = call.deadlineMs - MARGIN_MS;
    // Names of methods that only read begin so.
    const reads = /\/(Get|List)[A-Z]\w*$/.test(method.path);
    let last: ArrwError | undefined;
    for (let failures = 0; ; failures++) {
      if (failures > 1) await this.#pause(failures, deadlineMs, signal, last);
      const address = this.#finder.leader ?? (await this.#search(reads, deadlineMs, signal, last));
      const attempt = { address, reads, startedAtMs: performance.now(), abort: new AbortController() };
      const onAbort = (): void => attempt.abort.abort(signal.reason);
      if (signal.aborted) onAbort();
      else signal.addEventListener("abort", onAbort, { once: true });
      this.#attempts.add(attempt);
      try {
        const bounds = { deadlineMs, signal: attempt.abort.signal };
        return await this.#channels.call(address, method.path, request, bounds);
      } catch (error) {
        if (signal.aborted || !isAway(error)) throw error;
        last = toArrwError(error);
        this.#finder.lost(address);
        // A standby refuses, that is certain.
        if (last.reason !== "NOT_LEADING") call.onUncertain?.(last);
      } finally {
        signal.removeEventListener("abort", onAbort);
        this.#attempts.delete(attempt);
      }
    }
  }

  /** A scheduler to call: the leader as soon as there is one. @throws ArrwError UNAVAILABLE at the deadline */
  async #search(
    reads: boolean,
    deadlineMs: number,
    signal: AbortSignal,
    last: ArrwError | undefined,
  ): Promise<string> {
    for (;;) {
      if (this.#stopped) throw unavailable("the gateway is stopping");
      const round = await untilAborted(this.#finder.round(), deadlineMs, signal);
      if (signal.aborted) throw toArrwError(signal.reason);
      const leader = round?.leader ?? this.#finder.leader;
      if (leader !== undefined) return leader;
      if (Date.now() >= deadlineMs) throw this.#noneLeads(last);
      const readers = round?.readers ?? [];
      const reader = reads ? readers[Math.floor(Math.random() * readers.length)] : undefined;
      if (reader !== undefined) return reader;
    }
  }

  async #pause(
    failures: number,
    deadlineMs: number,
    signal: AbortSignal,
    last: ArrwError | undefined,
  ): Promise<void> {
    const most = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (failures - 2));
    const waitMs = most * (0.5 + Math.random() / 2);
    if (Date.now() + waitMs >= deadlineMs) throw this.#noneLeads(last);
    await delay(waitMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) throw toArrwError(signal.reason);
  }

  #noneLeads(last: ArrwError | undefined): ArrwError {
    const cause = last ?? this.#finder.error;
    const known = cause === undefined ? undefined : toArrwError(cause);
    // Where the leader may be concerns nobody outside.
    const why = !known || known.reason === "NOT_LEADING" ? "none leads" : known.message;
    return unavailable(`no scheduler can answer now: ${why}`, { retryAfterMs: 500, cause });
  }

  /** A process that is frozen, or cut off, keeps its connection: its calls would wait until their deadline. */
  async #leaveFrozen(): Promise<void> {
    const overdue = (attempt: Attempt): boolean => performance.now() - attempt.startedAtMs > PATIENCE_MS;
    const [oldest] = this.#attempts;
    if (this.#checking || !oldest || !overdue(oldest)) return;
    this.#checking = true;
    try {
      const { leader, readers, alive } = await this.#finder.round();
      for (const attempt of this.#attempts) {
        if (!overdue(attempt)) break;
        const { address, reads, abort } = attempt;
        const another = leader !== undefined && leader !== address;
        const reader = leader === undefined && reads && readers.length > 0 && !alive.has(address);
        if (reader) this.#finder.lost(address);
        if (another || reader) abort.abort(unavailable(`the scheduler at ${address} does not answer`));
      }
    } finally {
      this.#checking = false;
    }
  }
}

/** What the promise gives; undefined when the deadline or the signal comes first. */
function untilAborted<T>(
  promise: Promise<T>,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const end = (value: T | undefined): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      resolve(value);
    };
    const onAbort = (): void => end(undefined);
    const timer = setTimeout(onAbort, Math.max(0, deadlineMs - Date.now()));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    promise.then(end, (error: unknown) => {
      end(undefined);
      reject(error);
    });
  });
}

import type { Cancel, Clock } from "../../platform/clock.ts";
import { unavailable } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import { Stream } from "../../platform/nats/names.ts";
import { type JobError, type JobProgress, JobResult } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { type Outcome, OutcomeBatch } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Bus, Reader } from "./bus.ts";
import { toMs } from "./domain/backoff.ts";
import type { Command } from "./domain/commands.ts";

export interface OutcomeReaderOptions {
  readonly nats: Pick<Bus, "tail" | "streamInfo">;
  readonly clock: Clock;
  readonly log: Logger;
  /** The journal's outcomes_through: reading goes on behind it. */
  readonly after: number;
  /** Random number in [0, 1), for the jitter of retries. */
  readonly random: () => number;
  /** All commands of one message, in order. */
  readonly onCommands: (commands: readonly { jobId: string; command: Command }[], sequence: number) => void;
}

/** Reads what workers report, in order. No acknowledgements: how far it got is in the journal. */
export class OutcomeReader {
  readonly #options: OutcomeReaderOptions;
  #tail: Reader | undefined;
  #through: number;
  #heardAtMs = 0;
  #waiting: { readonly sequence: number; resolve(): void; reject(error: Error): void }[] = [];

  constructor(options: OutcomeReaderOptions) {
    this.#options = options;
    this.#through = options.after;
  }

  async start(): Promise<void> {
    const { nats, after } = this.#options;
    this.#tail = nats.tail({
      stream: Stream.outcomes,
      fromSequence: after + 1,
      onMessage: ({ sequence, data }) => this.#onMessage(sequence, data),
    });
    await this.#tail.start();
  }

  async stop(): Promise<void> {
    await this.#tail?.stop();
    for (const each of this.#waiting) each.reject(unavailable("the reader of OUTCOMES has stopped"));
    this.#waiting = [];
  }

  /**
   * Resolves when everything is taken up that the stream held at the time of the call.
   * @throws UNAVAILABLE when nothing comes for 5 s
   */
  async readToEnd(): Promise<void> {
    const { lastSequence } = await this.#options.nats.streamInfo(Stream.outcomes);
    if (this.#through >= lastSequence) return;
    const { clock } = this.#options;
    this.#heardAtMs = clock.monotonic();
    let stopWatching: Cancel | undefined;
    const reached = new Promise<void>((resolve, reject) => {
      this.#waiting.push({ sequence: lastSequence, resolve, reject });
      stopWatching = clock.every(250, () => {
        if (clock.monotonic() - this.#heardAtMs > STALL_MS) reject(unavailable("reading OUTCOMES stalled"));
      });
    });
    await reached.finally(() => stopWatching?.());
  }

  #onMessage(sequence: number, data: Uint8Array): void {
    const { log, onCommands, random, clock } = this.#options;
    this.#heardAtMs = clock.monotonic();
    try {
      const batch = OutcomeBatch.decode(data);
      const commands = batch.outcomes.flatMap((outcome) => {
        const command = toCommand(data.length > UNCHECKED_BYTES ? bounded(outcome) : outcome, random);
        return command ? [{ jobId: outcome.jobId, command }] : [];
      });
      onCommands(commands, sequence);
    } catch (error) {
      // A message nobody can read must not stop the ones behind it.
      log.error({ err: error, sequence }, "a message of OUTCOMES was skipped");
    }
    this.#through = sequence;
    if (this.#waiting.length === 0) return;
    const reached = this.#waiting.filter((each) => each.sequence <= sequence);
    this.#waiting = this.#waiting.filter((each) => each.sequence > sequence);
    for (const each of reached) each.resolve();
  }
}

const STALL_MS = 5_000;
/** A message up to this holds nothing that could make a record too large. */
const UNCHECKED_BYTES = 16 * 1024;
const MAX_CHECKPOINT_BYTES = 16 * 1024;
const MAX_RESULT_BYTES = 32 * 1024;
const MAX_TEXT_CHARACTERS = 4_000;

/** An outcome as a record can hold it: long texts are cut, a checkpoint too large is left out, a result fails the job. */
function bounded(outcome: Outcome): Outcome {
  const report = outcome.outcome;
  switch (report?.$case) {
    case "completed": {
      const bytes = report.value.result ? JobResult.encode(report.value.result).finish().length : 0;
      const value = { ...report.value, progress: cut(report.value.progress) };
      if (bytes <= MAX_RESULT_BYTES) return { ...outcome, outcome: { ...report, value } };
      const message = `the result has ${bytes} bytes, at most ${MAX_RESULT_BYTES} are kept`;
      const error = { code: "RESULT_TOO_LARGE", message, retryable: false };
      const failed = { error, retryAfter: undefined, timedOut: false };
      return { ...outcome, outcome: { $case: "failed", value: failed } };
    }
    case "failed": {
      const { code, message, retryable } = report.value.error ?? UNKNOWN_ERROR;
      const error = { code: code.slice(0, 100), message: message.slice(0, MAX_TEXT_CHARACTERS), retryable };
      return { ...outcome, outcome: { ...report, value: { ...report.value, error } } };
    }
    case "cancelled": {
      const { partialResult } = report.value;
      const fits = partialResult && JobResult.encode(partialResult).finish().length <= MAX_RESULT_BYTES;
      const value = { partialResult: fits ? partialResult : undefined, progress: cut(report.value.progress) };
      return { ...outcome, outcome: { ...report, value } };
    }
    case "checkpoint": {
      if (report.value.data.length > MAX_CHECKPOINT_BYTES) return { ...outcome, outcome: undefined };
      const value = { ...report.value, progress: cut(report.value.progress) };
      return { ...outcome, outcome: { ...report, value } };
    }
    default:
      return outcome;
  }
}

function cut(progress: JobProgress | undefined): JobProgress | undefined {
  return progress && { ...progress, message: progress.message.slice(0, MAX_TEXT_CHARACTERS) };
}

const UNKNOWN_ERROR: JobError = { code: "UNKNOWN", message: "the worker gave no reason", retryable: true };

function toCommand(outcome: Outcome, random: () => number): Command | undefined {
  const { lease, fenceOpen } = outcome;
  switch (outcome.outcome?.$case) {
    case "completed":
      return { kind: "complete", lease, fenceOpen, ...outcome.outcome.value };
    case "failed": {
      const { error, retryAfter, timedOut } = outcome.outcome.value;
      return {
        kind: "fail",
        lease,
        fenceOpen,
        error: error ?? UNKNOWN_ERROR,
        retryAfterMs: toMs(retryAfter),
        timedOut,
        random: random(),
      };
    }
    case "cancelled":
      return { kind: "stopped", lease, fenceOpen, ...outcome.outcome.value };
    case "released":
      return { kind: "release", lease, fenceOpen, delayMs: toMs(outcome.outcome.value.delay) };
    case "checkpoint":
      return { kind: "checkpoint", lease, ...outcome.outcome.value };
    default:
      return undefined;
  }
}

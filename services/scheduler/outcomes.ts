import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Stream } from "../../platform/nats/names.ts";
import type { Tail } from "../../platform/nats/tail.ts";
import type { JobError } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { type Outcome, OutcomeBatch } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Duration } from "../../proto/gen/google/protobuf/duration.ts";
import type { Command } from "./domain/commands.ts";

export interface OutcomeReaderOptions {
  readonly nats: Nats;
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
  #tail: Tail | undefined;
  #through: number;
  #waiting: { readonly sequence: number; resolve(): void }[] = [];

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
    this.#waiting = [];
  }

  /** Resolves when everything is taken up that the stream held at the time of the call. */
  async readToEnd(): Promise<void> {
    const { lastSequence } = await this.#options.nats.streamInfo(Stream.outcomes);
    if (this.#through >= lastSequence) return;
    await new Promise<void>((resolve) => this.#waiting.push({ sequence: lastSequence, resolve }));
  }

  #onMessage(sequence: number, data: Uint8Array): void {
    const { log, onCommands, random } = this.#options;
    try {
      const batch = OutcomeBatch.decode(data);
      const commands = batch.outcomes.flatMap((outcome) => {
        const command = toCommand(outcome, random);
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

const UNKNOWN_ERROR: JobError = { code: "UNKNOWN", message: "the worker gave no reason", retryable: true };

function toCommand(outcome: Outcome, random: () => number): Command | undefined {
  const { lease } = outcome;
  switch (outcome.outcome?.$case) {
    case "completed":
      return { kind: "complete", lease, ...outcome.outcome.value };
    case "failed": {
      const { error, retryAfter } = outcome.outcome.value;
      return {
        kind: "fail",
        lease,
        error: error ?? UNKNOWN_ERROR,
        retryAfterMs: toMs(retryAfter),
        jitter: random(),
      };
    }
    case "cancelled":
      return { kind: "stopped", lease, ...outcome.outcome.value };
    case "released":
      return { kind: "release", lease, delayMs: toMs(outcome.outcome.value.delay) };
    case "checkpoint":
      return { kind: "checkpoint", lease, ...outcome.outcome.value };
    default:
      return undefined;
  }
}

function toMs(duration: Duration | undefined): number | undefined {
  return duration && Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

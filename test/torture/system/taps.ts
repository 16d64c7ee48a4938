import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { Stream } from "../../../platform/nats/names.ts";
import type { Tail } from "../../../platform/nats/tail.ts";
import { isTerminal, type RecordView } from "../history.ts";
import { clockMs, type Recorder } from "../recorder.ts";
import { batchOf, outcomesOf } from "../views.ts";

/** Reads JOURNAL and OUTCOMES as they grow, on a connection that no fault touches but those of nats-server itself. */
export class Taps {
  readonly #nats: Nats;
  readonly #recorder: Recorder;
  /** The newest record of each job. */
  readonly jobs = new Map<string, RecordView>();
  #tails: Tail[] = [];
  #through = 0;
  /** Events in the journal so far. */
  events = 0;

  constructor(natsUrl: string, recorder: Recorder) {
    this.#nats = new Nats({ url: natsUrl, name: "torture", log: silentLog() });
    this.#recorder = recorder;
  }

  /** Call it when the streams are there. */
  async start(): Promise<void> {
    await this.#nats.start();
    const { nats, recorder } = { nats: this.#nats, recorder: this.#recorder };
    this.#tails = [
      nats.tail({
        stream: Stream.journal,
        fromSequence: 1,
        onMessage: ({ sequence, data }) => this.#onBatch(sequence, data),
      }),
      nats.tail({
        stream: Stream.outcomes,
        fromSequence: 1,
        onMessage: ({ sequence, data }) => {
          for (const outcome of outcomesOf(sequence, data, clockMs())) recorder.add(outcome);
        },
      }),
    ];
    for (const tail of this.#tails) await tail.start();
  }

  async stop(): Promise<void> {
    for (const tail of this.#tails) await tail.stop();
    await this.#nats.stop();
  }

  /** Jobs not ended, or with a fence that is still to be closed. */
  open(): RecordView[] {
    return [...this.jobs.values()].filter(
      ({ job, fencePending }) => job !== undefined && (!isTerminal(job) || fencePending !== 0),
    );
  }

  /** The newest record of the job that was submitted with this body. */
  ofBody(body: string): RecordView | undefined {
    return [...this.jobs.values()].find(({ job }) => job?.body === body);
  }

  /** Whether all that the journal holds now has been read. */
  async isCurrent(): Promise<boolean> {
    const { lastSequence } = await this.#nats.streamInfo(Stream.journal);
    return this.#through >= lastSequence;
  }

  #onBatch(sequence: number, data: Uint8Array): void {
    const batch = batchOf(sequence, data);
    this.#through = sequence;
    this.events += batch.records.filter(({ event }) => event !== "").length;
    this.#recorder.add(batch);
    for (const record of batch.records) this.jobs.set(record.jobId, record);
  }
}

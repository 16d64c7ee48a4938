import { BinaryReader } from "@bufbuild/protobuf/wire";
import { eventsOf, type JobEvent } from "./job-event.ts";
import { leadingString } from "./wire.ts";

const LENGTH_DELIMITED = 2;
const BATCH = { leaderAddress: 5, records: 6 } as const;
const RECORD = { jobId: 1 } as const;

/** One message of the journal, its records undecoded. */
export class JournalBatch {
  readonly sequence: number;
  readonly records: readonly Uint8Array[];
  /** A scheduler took over with it. */
  readonly takesOver: boolean;
  /** Encoded. */
  readonly bytes: number;
  #events: readonly JobEvent[] | undefined;
  #byJob: ReadonlyMap<string, readonly Uint8Array[]> | undefined;

  /** @throws Error when it is malformed */
  constructor(sequence: number, data: Uint8Array) {
    this.sequence = sequence;
    this.bytes = data.length;
    const records: Uint8Array[] = [];
    let takesOver = false;
    const reader = new BinaryReader(data);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === BATCH.records && wireType === LENGTH_DELIMITED) records.push(reader.bytes());
      else if (field === BATCH.leaderAddress && wireType === LENGTH_DELIMITED) {
        reader.skip(wireType, field);
        takesOver = true;
      } else reader.skip(wireType, field);
    }
    this.records = records;
    this.takesOver = takesOver;
  }

  /** By the job's id, in order; looked through once for all who ask. */
  get byJob(): ReadonlyMap<string, readonly Uint8Array[]> {
    this.#byJob ??= groupedByJob(this.records);
    return this.#byJob;
  }

  /** What WatchJobs gives of it; looked at once for all watchers. @throws Error when a record is malformed */
  get events(): readonly JobEvent[] {
    this.#events ??= eventsOf(this.sequence, this.records);
    return this.#events;
  }
}

function groupedByJob(records: readonly Uint8Array[]): Map<string, Uint8Array[]> {
  const byJob = new Map<string, Uint8Array[]>();
  for (const bytes of records) {
    const jobId = leadingString(bytes, RECORD.jobId);
    if (jobId === undefined) continue;
    const known = byJob.get(jobId);
    if (known) known.push(bytes);
    else byJob.set(jobId, [bytes]);
  }
  return byJob;
}

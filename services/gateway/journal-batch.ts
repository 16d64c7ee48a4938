import { BinaryReader } from "@bufbuild/protobuf/wire";
import { eventsOf, type JobEvent } from "./job-event.ts";

const LENGTH_DELIMITED = 2;
const BATCH = { leaderAddress: 5, records: 6 } as const;

/** One message of the journal, its records undecoded. */
export class JournalBatch {
  readonly sequence: number;
  readonly records: readonly Uint8Array[];
  /** A scheduler took over with it. */
  readonly takesOver: boolean;
  /** Encoded. */
  readonly bytes: number;
  #events: readonly JobEvent[] | undefined;

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

  /** What WatchJobs gives of it; looked at once for all watchers. @throws Error when a record is malformed */
  get events(): readonly JobEvent[] {
    this.#events ??= eventsOf(this.sequence, this.records);
    return this.#events;
  }
}

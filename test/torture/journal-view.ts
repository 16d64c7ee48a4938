import type { BatchEntry, Entry, EntryOf, RecordView } from "./history.ts";

/** A record with its place in the journal. */
export interface Placed extends RecordView {
  readonly sequence: number;
  readonly outcomesThrough: number;
}

/** A history looked at from its journal: what the checks share. */
export class JournalView {
  readonly batches: readonly BatchEntry[];
  readonly records: readonly Placed[];
  /** Records of each job, in order. */
  readonly jobs = new Map<string, Placed[]>();
  readonly #entries: readonly Entry[];

  constructor(entries: readonly Entry[]) {
    this.#entries = entries;
    this.batches = this.all("batch").sort((a, b) => a.sequence - b.sequence);
    this.records = this.batches.flatMap(({ sequence, outcomesThrough, records }) =>
      records.map((record) => ({ ...record, sequence, outcomesThrough })),
    );
    for (const record of this.records) {
      const known = this.jobs.get(record.jobId);
      if (known) known.push(record);
      else this.jobs.set(record.jobId, [record]);
    }
  }

  all<K extends Entry["kind"]>(kind: K): EntryOf<K>[] {
    return this.#entries.filter((entry): entry is EntryOf<K> => entry.kind === kind);
  }

  recordsOf(jobId: string): readonly Placed[] {
    return this.jobs.get(jobId) ?? [];
  }

  /** The record that made this revision; undefined = there is none. */
  revisionOf(jobId: string, revision: number): Placed | undefined {
    return this.recordsOf(jobId).find((record) => record.event !== "" && record.revision === revision);
  }

  /** The newest record of a job. */
  lastOf(jobId: string): Placed | undefined {
    return this.recordsOf(jobId).at(-1);
  }

  wasDeleted(jobId: string): boolean {
    return this.recordsOf(jobId).some(({ job }) => job === undefined);
  }
}

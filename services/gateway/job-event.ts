import { BinaryReader } from "@bufbuild/protobuf/wire";
import { Job, JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { JobHead, JobMatcher } from "./domain/job-filter.ts";
import { formatCursor } from "./domain/watch-cursor.ts";
import { lastFieldBytes, lengthDelimited } from "./wire.ts";

/**
 * One transition in the journal as WatchJobs gives it. Of the record only what filters look at is decoded; the job's
 * own bytes go out as they are.
 */

const LENGTH_DELIMITED = 2;
const VARINT = 0;
const RECORD = { jobId: 1, revision: 2, event: 3, at: 4, state: 5, deletedJob: 6 } as const;
const STATE = { job: 1 } as const;
const JOB = { type: 2, status: 3, libraryId: 4 } as const;
const EVENT = { cursor: 1, event: 2, at: 3, job: 4 } as const;

interface Parsed {
  readonly event: string;
  readonly at: Uint8Array | undefined;
  readonly job: Uint8Array;
}

export class JobEvent {
  readonly sequence: number;
  readonly index: number;
  readonly #event: string;
  readonly #at: Uint8Array | undefined;
  readonly #bytes: Uint8Array;
  #head: JobHead | undefined;
  #job: Job | undefined;
  #payload: Buffer | undefined;

  constructor(sequence: number, index: number, { event, at, job }: Parsed) {
    this.sequence = sequence;
    this.index = index;
    this.#event = event;
    this.#at = at;
    this.#bytes = job;
  }

  matches({ head, rest }: JobMatcher): boolean {
    this.#head ??= headOf(this.#bytes);
    if (!head(this.#head)) return false;
    if (!rest) return true;
    this.#job ??= Job.decode(this.#bytes);
    return rest(this.#job);
  }

  /** The encoded WatchJobsResponse, made once for all watchers. */
  get payload(): Buffer {
    this.#payload ??= lengthDelimited([
      [EVENT.cursor, Buffer.from(formatCursor(this.sequence, this.index), "latin1")],
      [EVENT.event, Buffer.from(this.#event)],
      ...(this.#at ? ([[EVENT.at, this.#at]] as const) : []),
      [EVENT.job, this.#bytes],
    ]);
    return this.#payload;
  }
}

/**
 * The events of a batch's records, in order. Records without an event are none: they were appended again.
 * @throws Error when a record is malformed
 */
export function eventsOf(sequence: number, records: readonly Uint8Array[]): JobEvent[] {
  const events: JobEvent[] = [];
  for (const [index, bytes] of records.entries()) {
    const parsed = parseRecord(bytes);
    if (parsed) events.push(new JobEvent(sequence, index, parsed));
  }
  return events;
}

function parseRecord(bytes: Uint8Array): Parsed | undefined {
  const reader = new BinaryReader(bytes);
  let jobId = "";
  let revision = 0n;
  let event = "";
  let at: Uint8Array | undefined;
  let job: Uint8Array | undefined;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === RECORD.revision && wireType === VARINT) revision = BigInt(reader.int64());
    else if (wireType !== LENGTH_DELIMITED) reader.skip(wireType, field);
    else if (field === RECORD.jobId) jobId = reader.string();
    else if (field === RECORD.event) event = reader.string();
    else if (field === RECORD.at) at = reader.bytes();
    else if (field === RECORD.state) job = lastFieldBytes(reader.bytes(), STATE.job);
    else if (field === RECORD.deletedJob) job = reader.bytes();
    else reader.skip(wireType, field);
  }
  if (event === "") return undefined;
  // A tombstone of an earlier release says no more than this.
  job ??= Job.encode(Job.fromPartial({ jobId, revision })).finish();
  return { event, at, job };
}

function headOf(job: Uint8Array): JobHead {
  const reader = new BinaryReader(job);
  const head = { type: "", status: JobStatus.JOB_STATUS_UNSPECIFIED as JobStatus, libraryId: "" };
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    // Fields are written in the order of their numbers: what follows is of no interest.
    if (field > JOB.libraryId) break;
    if (field === JOB.type && wireType === LENGTH_DELIMITED) head.type = reader.string();
    else if (field === JOB.status && wireType === VARINT) head.status = reader.int32() as JobStatus;
    else if (field === JOB.libraryId && wireType === LENGTH_DELIMITED) head.libraryId = reader.string();
    else reader.skip(wireType, field);
  }
  return head;
}

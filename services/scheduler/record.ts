import { BinaryReader, type BinaryWriter } from "@bufbuild/protobuf/wire";
import { encode } from "../../platform/encode.ts";
import { JobState as JobStateMessage, JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import { Job } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { JobState } from "./domain/state.ts";

/**
 * How jobs become bytes. The encodings of two halves of a protobuf message, one after the other, are an encoding of
 * the whole; so what never changes in a job is encoded once, and each transition encodes the rest. The job's bytes
 * serve the journal, the store and the answer to its submit.
 */

/** What never changes in a job, encoded. */
export function encodeFixed(job: Job): Buffer {
  const { jobId, type, libraryId, spec, maxRetries, createdAt, labels } = job;
  const { requestId, itemCount, payloadBytes, executionTimeout } = job;
  const fixed = { jobId, type, libraryId, spec, maxRetries, createdAt, labels };
  return encode(Job, { ...EMPTY, ...fixed, requestId, itemCount, payloadBytes, executionTimeout });
}

const EMPTY = Job.fromPartial({});
const NOTHING_FIXED = {
  jobId: "",
  type: "",
  libraryId: "",
  spec: undefined,
  maxRetries: 0,
  createdAt: undefined,
  labels: {},
  requestId: "",
  itemCount: 0n,
  payloadBytes: 0n,
  executionTimeout: undefined,
} satisfies Partial<Job>;

/** A job's bytes, from those of `encodeFixed`. */
export function encodeJob(fixed: Buffer, job: Job): Buffer {
  return encode(JobBytes, { fixed, rest: { ...job, ...NOTHING_FIXED } });
}

const JobBytes = {
  encode: ({ fixed, rest }: { fixed: Buffer; rest: Job }, writer?: BinaryWriter) =>
    Job.encode(rest, writer?.raw(fixed)),
};

/** A journal record: `state` undefined is a tombstone, otherwise `job` holds the bytes of its job. */
export function encodeRecord(
  record: Omit<JournalRecord, "state">,
  state: JobState | undefined,
  job: Buffer | undefined,
): Buffer {
  return encode(RecordBytes, { record, state, job });
}

interface RecordParts {
  readonly record: Omit<JournalRecord, "state">;
  readonly state: JobState | undefined;
  readonly job: Buffer | undefined;
}

const STATE_TAG = 42;
const JOB_TAG = 10;

const RecordBytes = {
  // encode() gives a writer; job_id comes first, as readers expect.
  encode: ({ record, state, job }: RecordParts, given?: BinaryWriter) => {
    const writer = JournalRecord.encode({ ...record, state: undefined }, given);
    if (!state || !job) return writer;
    writer.uint32(STATE_TAG).fork().uint32(JOB_TAG).bytes(job);
    return JobStateMessage.encode({ ...state, job: undefined }, writer).join();
  },
};

/** The job of an encoded record: its first field, so the rest is not decoded. */
export function jobIdOf(record: Uint8Array): string {
  const reader = new BinaryReader(record);
  reader.uint32();
  return reader.string();
}

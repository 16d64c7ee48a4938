import { v7 as uuidv7 } from "uuid";
import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { Stream } from "../../../platform/nats/names.ts";
import { JournalBatch, JournalRecord } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { Submission } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { JobStatus, type SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { startTestNats, type TestNats } from "../../support/nats.ts";
import { ProtocolWorker, type ProtocolWorkerOptions } from "../../support/protocol-worker.ts";
import { reversed } from "../../support/reversed.ts";
import { SchedulerProcess } from "../../support/scheduler-process.ts";
import type { Cleanup } from "../../support/temp.ts";

export interface SetUp {
  readonly t: Cleanup;
  readonly server: TestNats;
  readonly scheduler: SchedulerProcess;
  /** The test's own connection. */
  readonly nats: Nats;
  worker(options?: ProtocolWorkerOptions): Promise<ProtocolWorker>;
}

/** A nats-server and a scheduler process that leads. Workers count as lost after 1 s. */
export async function setUp(test: Cleanup, env: Readonly<Record<string, string>> = {}): Promise<SetUp> {
  const t = reversed(test);
  const server = await startTestNats(t);
  const nats = await connected(t, server.url);
  const scheduler = await SchedulerProcess.start(t, {
    natsUrl: server.url,
    env: { ARRW_LEASE_TIMEOUT_MS: "1000", ...env },
  });
  return { t, server, scheduler, nats, worker: (options) => ProtocolWorker.start(t, server.url, options) };
}

export async function connected(t: Cleanup, url: string): Promise<Nats> {
  const nats = new Nats({ url, name: "test", log: silentLog() });
  await nats.start();
  t.after(() => nats.stop());
  return nats;
}

type Fields = Partial<Omit<SubmitJobRequest, "spec">> & {
  readonly jobId?: string;
  readonly type?: string;
  readonly digest?: string;
};

/** A submission of an echo job with a new id, as a gateway makes it. */
export function echo(fields: Fields = {}): Submission {
  const { jobId = uuidv7(), type = "echo", digest = "same", ...request } = fields;
  const spec = { spec: { $case: "echo" as const, value: { message: "hello" } } };
  return Submission.fromPartial({
    jobId,
    type,
    requestDigest: Buffer.from(digest),
    request: { ...request, spec },
  } as Parameters<typeof Submission.fromPartial>[0]);
}

export interface Recorded extends JournalRecord {
  readonly sequence: number;
}

/** Every record in the journal, in order. */
export async function journalOf(nats: Nats): Promise<{ records: Recorded[]; batches: JournalBatch[] }> {
  const records: Recorded[] = [];
  const batches: JournalBatch[] = [];
  const take = ({ sequence, data }: { sequence: number; data: Uint8Array }): void => {
    const batch = JournalBatch.decode(data);
    batches.push(batch);
    for (const bytes of batch.records) records.push({ ...JournalRecord.decode(bytes), sequence });
  };
  await nats.readToEnd(Stream.journal, 1, take, 10_000);
  return { records, batches };
}

export const { JOB_STATUS_PENDING: PENDING, JOB_STATUS_SCHEDULED: SCHEDULED } = JobStatus;
export const { JOB_STATUS_RUNNING: RUNNING, JOB_STATUS_COMPLETED: COMPLETED } = JobStatus;
export const { JOB_STATUS_FAILED: FAILED, JOB_STATUS_CANCELLED: CANCELLED } = JobStatus;
export const ENDED: ReadonlySet<number> = new Set([COMPLETED, FAILED, CANCELLED]);

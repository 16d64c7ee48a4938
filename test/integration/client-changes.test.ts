import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceError,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ArrwClient } from "../../client/index.ts";
import {
  GetQueueStatsResponse,
  Job,
  JobServiceService,
  JobStatus,
  type RetryJobRequest,
} from "../../proto/gen/arrwdb/v1/jobs.ts";
import { QueueServiceService } from "../../proto/gen/arrwdb/v1/queues.ts";

type Answer = (error: Partial<ServiceError> | null, response?: unknown) => void;
type UnaryCall<Q> = ServerUnaryCall<Q, unknown>;
const unavailable = { code: status.UNAVAILABLE, details: "not now" };
const failed = Job.fromPartial({ jobId: "j", status: JobStatus.JOB_STATUS_FAILED, revision: 7n });

/** A gateway of a few handlers. */
async function start(t: TestContext, handlers: UntypedServiceImplementation, onStale?: (at: bigint) => void) {
  const server = new Server();
  server.addService(JobServiceService, handlers);
  server.addService(QueueServiceService, handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const client = new ArrwClient({
    address: `127.0.0.1:${port}`,
    timeoutMs: 10_000,
    ...(onStale ? { onStale } : {}),
  });
  t.after(() => {
    client.close();
    server.forceShutdown();
  });
  return client;
}

test("a retry that is repeated follows the end that it saw first", async (t) => {
  const asked: bigint[] = [];
  const client = await start(t, {
    getJob: (_call: UnaryCall<unknown>, answer: Answer) => answer(null, { job: failed, staleSequence: 0n }),
    retryJob: ({ request }: UnaryCall<RetryJobRequest>, answer: Answer) => {
      asked.push(request.endedRevision);
      if (asked.length < 3) answer(unavailable);
      else answer(null, { job: { ...failed, revision: 8n } });
    },
  });
  assert.equal((await client.retry("j")).revision, 8n);
  assert.deepEqual(asked, [7n, 7n, 7n]);
  await client.retry("j", { endedRevision: 3n });
  assert.equal(asked.at(-1), 3n);
});

test("a repeated deletion that finds nothing has succeeded; bulk retries are not repeated", async (t) => {
  let deletions = 0;
  const client = await start(t, {
    deleteJob: (_call: UnaryCall<unknown>, answer: Answer) => {
      deletions += 1;
      answer(deletions === 1 ? unavailable : { code: status.NOT_FOUND, details: "gone" });
    },
    retryJobs: (_call: UnaryCall<unknown>, answer: Answer) => answer(unavailable),
  });
  await client.delete("j");
  await assert.rejects(client.delete("j"), { code: "NOT_FOUND" });
  const startedAtMs = performance.now();
  await assert.rejects(client.retryJobs({ all: true }), { code: "UNAVAILABLE" });
  assert.ok(performance.now() - startedAtMs < 5_000);
});

test("stale replies are told, fresh ones not", async (t) => {
  let staleSequence = 41n;
  const stale: bigint[] = [];
  const client = await start(
    t,
    {
      getJob: (_call: UnaryCall<unknown>, answer: Answer) => answer(null, { job: failed, staleSequence }),
      listJobs: (_call: UnaryCall<unknown>, answer: Answer) =>
        answer(null, { jobs: [], nextPageToken: "", cursor: "", staleSequence }),
      getQueueStats: (_call: UnaryCall<unknown>, answer: Answer) =>
        answer(null, GetQueueStatsResponse.fromPartial({ staleSequence })),
    },
    (sequence) => stale.push(sequence),
  );
  const readAll = async (): Promise<void> => {
    await client.get("j");
    await client.list();
    await client.stats();
  };
  await readAll();
  assert.deepEqual(stale, [41n, 41n, 41n]);
  staleSequence = 0n;
  await readAll();
  assert.equal(stale.length, 3);
});

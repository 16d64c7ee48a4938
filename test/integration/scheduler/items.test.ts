import assert from "node:assert/strict";
import { test } from "node:test";
import { unary } from "../../../platform/grpc/client.ts";
import { writeItemsPart } from "../../../platform/nats/job-items.ts";
import { ObjectId, Stream, Subject } from "../../../platform/nats/names.ts";
import { CompletedOutcome } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { eventually } from "../../support/eventually.ts";
import { COMPLETED, echo, setUp } from "./set-up.ts";

const TIMEOUT = { timeoutMs: 5_000 };

test("a job runs its failed items again while some failed; its outcomes go when it is deleted", async (test) => {
  const { scheduler, nats, worker: startWorker } = await setUp(test);
  const { client } = scheduler;
  const worker = await startWorker({
    types: ["batch_delete", "echo"],
    answer: ({ run }) => {
      const value = { deleted: BigInt(run), failed: BigInt(2 - run) };
      const result = { result: { $case: "batchDelete" as const, value } };
      return { $case: "completed", value: CompletedOutcome.fromPartial({ result }) };
    },
  });
  const retry = (jobId: string, endedRevision: bigint) =>
    unary(
      client,
      client.retryJob,
      { visibleLibraries: [], jobId, fromCheckpoint: false, failedItemsOnly: true, endedRevision },
      TIMEOUT,
    );
  const { jobId } = await scheduler.submit(echo({ type: "batch_delete" }));
  const first = await scheduler.reaches(jobId, COMPLETED);
  await retry(jobId, first.revision);
  // Repeated it does nothing more.
  await retry(jobId, first.revision);
  const second = await eventually(async () => {
    const job = await scheduler.reaches(jobId, COMPLETED);
    return job.revision > first.revision ? job : undefined;
  });
  assert.deepEqual(
    worker.grants.map(({ run, failedItemsOnly }) => [run, failedItemsOnly]),
    [
      [1, false],
      [2, true],
    ],
  );
  // After a restart, too, it is known that none is left.
  await scheduler.restart();
  await assert.rejects(retry(jobId, second.revision), {
    code: "FAILED_PRECONDITION",
    reason: "NO_FAILED_ITEMS",
  });
  const plain = await scheduler.submit(echo());
  const { revision } = await scheduler.reaches(plain.jobId, COMPLETED);
  await assert.rejects(retry(plain.jobId, revision), { code: "FAILED_PRECONDITION", reason: "NO_ITEMS" });

  for (const part of [0, 1]) await writeItemsPart(nats, jobId, part, { lease: 1n, items: [], sequence: 0 });
  const stored = () => nats.streamSubjects(Stream.objects, Subject.objectAll(ObjectId.items(jobId)));
  assert.equal(Object.keys(await stored()).length, 2);
  await unary(client, client.deleteJob, { visibleLibraries: [], jobId }, TIMEOUT);
  await eventually(async () => Object.keys(await stored()).length === 0, { what: "the outcomes are gone" });
});

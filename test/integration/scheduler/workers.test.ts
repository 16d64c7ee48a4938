import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ArrwError } from "../../../platform/errors.ts";
import { freePort } from "../../../platform/free-port.ts";
import { GrpcServer, implement } from "../../../platform/grpc/server.ts";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";
import { type EndLeaseRequest, IndexServiceService } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { eventually } from "../../support/eventually.ts";
import { completed } from "../../support/protocol-worker.ts";
import type { Cleanup } from "../../support/temp.ts";
import { CANCELLED, COMPLETED, echo, FAILED, journalOf, RUNNING, setUp } from "./set-up.ts";

/** An index service that knows nothing but EndLease, which fails as often as the test says. */
class FenceIndex {
  readonly calls: EndLeaseRequest[] = [];
  failures = 0;

  async start(t: Cleanup, port: number): Promise<this> {
    const unused = async (): Promise<never> => {
      throw new ArrwError("UNIMPLEMENTED", "not in this test");
    };
    const names = Object.keys(IndexServiceService).filter((name) => name !== "endLease");
    const others = Object.fromEntries(names.map((name) => [name, unused]));
    const service = implement(IndexServiceService, {
      ...others,
      endLease: async (request: EndLeaseRequest) => {
        this.calls.push(request);
        if (this.failures-- > 0) throw new ArrwError("UNAVAILABLE", "not yet");
        return {};
      },
    } as unknown as Parameters<typeof implement<typeof IndexServiceService>>[1]);
    const server = new GrpcServer({
      host: "127.0.0.1",
      port,
      services: [service],
      log: silentLog(),
      registry: createRegistry("fence-index"),
      maxReceiveBytes: 1024 * 1024,
      defaultTimeoutMs: 5_000,
    });
    await server.start();
    t.after(() => server.stop());
    return this;
  }
}

test("a lost worker's jobs are ready at once elsewhere; its fences are closed; the third loss is poison", async (test) => {
  const port = await freePort();
  const {
    t,
    scheduler,
    nats,
    worker: startWorker,
  } = await setUp(test, { ARRW_INDEX_ADDRESS: `127.0.0.1:${port}` });
  const job = await scheduler.submit(echo({ libraryId: "library-1" }));
  const index = new FenceIndex();
  const leases: bigint[] = [];
  for (let loss = 1; loss <= 3; loss++) {
    const worker = await startWorker();
    const grant = await eventually(() => worker.grants[0]);
    assert.deepEqual([grant.jobId, grant.attempt], [job.jobId, 1]);
    leases.push(grant.lease);
    worker.fallSilent();
    const silentAtMs = performance.now();
    const lost = await eventually(async () => {
      const now = await scheduler.get(job.jobId);
      return now.losses === loss ? now : undefined;
    });
    assert.ok(performance.now() - silentAtMs > 700, "not before the lease timeout");
    if (loss === 1) assert.equal(lost.retries, 0);
    // The late outcome of a lost lease changes nothing.
    await worker.report(grant.lease, completed());
  }
  const ended = await scheduler.get(job.jobId);
  assert.deepEqual([ended.status, ended.losses, ended.error?.code], [FAILED, 3, "WORKER_LOST"]);
  // The index was away all the time; now it refuses twice, then acknowledges.
  index.failures = 2;
  await index.start(t, port);
  await eventually(() => index.calls.length >= 3, { timeoutMs: 15_000, what: "EndLease is repeated" });
  for (const { libraryId, fence } of index.calls) {
    assert.deepEqual([libraryId, fence?.jobId, fence?.lease], ["library-1", job.jobId, leases[2]]);
  }
  const closed = await eventually(async () => {
    const { records } = await journalOf(nats);
    return records.find(({ event, state }) => event === "" && state?.fencePending === 0n);
  });
  assert.equal(closed.revision, ended.revision);
  await sleep(1_200);
  assert.equal(index.calls.length, 3, "once acknowledged it is not repeated");
});

test("an outcome that was finished but not read before the worker vanished is not lost", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  const worker = await startWorker({ slots: 20, answer: completed });
  await eventually(async () => (await scheduler.stats()).numWorkers === 1);
  await scheduler.kill();
  worker.fallSilent();
  await scheduler.start();
  await scheduler.leads();
  const jobs = [];
  for (let n = 0; n < 3; n++) jobs.push(await scheduler.submit(echo()));
  const other = await startWorker({ slots: 3 });
  await eventually(() => other.grants.length === 3);
  // Published while no scheduler is up; the worker dies before the next one leads.
  await scheduler.kill();
  for (const { lease } of other.grants) await other.report(lease, completed());
  other.fallSilent();
  await scheduler.start();
  for (const { jobId } of jobs) {
    const job = await scheduler.reaches(jobId, COMPLETED).catch(async () => scheduler.get(jobId));
    assert.deepEqual([job.status, job.losses], [COMPLETED, 0]);
  }
});

test("a lease that never arrived is sent again, also one whose leader died before it was sent", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  const worker = await startWorker({ deaf: true });
  const job = await scheduler.submit(echo());
  await eventually(() => worker.assigned.length >= 2, { what: "a lease not listed is sent again" });
  assert.equal(new Set(worker.assigned).size, 1, "the same lease");
  await scheduler.restart();
  const before = worker.assigned.length;
  await eventually(() => worker.assigned.length > before, { what: "sent again after a restart" });
  worker.deaf = false;
  const grant = await eventually(() => worker.grants[0]);
  await worker.report(grant.lease, completed());
  const done = await scheduler.reaches(job.jobId, COMPLETED);
  assert.deepEqual([done.losses, done.retries], [0, 0]);
});

test("nobody counts as lost because the scheduler was away", async (test) => {
  const { server, scheduler, worker: startWorker } = await setUp(test);
  const worker = await startWorker();
  const job = await scheduler.submit(echo());
  await eventually(() => worker.grants.length === 1);
  await scheduler.kill();
  await sleep(1_500);
  await scheduler.start();
  await scheduler.leads();
  await sleep(1_500);
  assert.deepEqual([(await scheduler.get(job.jobId)).losses, worker.grants.length], [0, 1]);
  // Nor because NATS was, nor because the scheduler's process stood still.
  await server.kill();
  await sleep(1_200);
  await server.restart();
  await scheduler.leads();
  scheduler.signal("SIGSTOP");
  await sleep(2_000);
  scheduler.signal("SIGCONT");
  await sleep(1_000);
  await scheduler.leads();
  const now = await eventually(() => scheduler.get(job.jobId));
  assert.deepEqual([now.status, now.losses], [RUNNING, 0]);
  await worker.report(worker.grants[0]?.lease ?? 0n, completed());
  await scheduler.reaches(job.jobId, COMPLETED);
});

test("slots: as many leases as announced, none for a draining worker, types respected", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  const worker = await startWorker({ slots: 2 });
  const jobs = [];
  for (let n = 0; n < 5; n++) jobs.push(await scheduler.submit(echo()));
  const foreign = await scheduler.submit(echo({ type: "batch_import" }));
  await eventually(() => worker.grants.length === 2);
  await eventually(() => worker.replies.length >= 3);
  assert.equal(worker.grants.length, 2);
  const stats = await scheduler.stats();
  assert.deepEqual([stats.slots, stats.slotsUsed, stats.numWorkers], [2, 2, 1]);
  assert.deepEqual([stats.runningJobs, stats.pendingJobs, stats.totalJobs], [2n, 4n, 6n]);
  assert.deepEqual(
    stats.byType.map(({ type, pendingJobs, runningJobs }) => [type, pendingJobs, runningJobs]),
    [
      ["batch_import", 1n, 0n],
      ["echo", 3n, 2n],
    ],
  );
  worker.draining = true;
  await eventually(() => worker.replies.length >= 6);
  for (const { lease } of worker.grants) await worker.report(lease, completed());
  await scheduler.reaches(worker.grants[1]?.jobId ?? "", COMPLETED);
  await eventually(() => worker.replies.length >= 9);
  assert.equal(worker.grants.length, 2, "a draining worker gets nothing");
  worker.draining = false;
  await eventually(() => worker.grants.length === 4);
  assert.deepEqual(
    worker.grants.map(({ jobId }) => jobId),
    jobs.slice(0, 4).map(({ jobId }) => jobId),
    "first come first served",
  );
  assert.equal((await scheduler.cancel(foreign.jobId))?.status, CANCELLED);
});

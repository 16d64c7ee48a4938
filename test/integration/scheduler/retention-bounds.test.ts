import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { type Clock, systemClock } from "../../../platform/clock.ts";
import { silentLog } from "../../../platform/log.ts";
import type { StreamInfo } from "../../../platform/nats/connection.ts";
import type { Transition } from "../../../services/scheduler/jobs.ts";
import { Journal } from "../../../services/scheduler/journal.ts";
import { Projection } from "../../../services/scheduler/projection.ts";
import { Queues } from "../../../services/scheduler/queues.ts";
import { Retention, type RetentionLimits } from "../../../services/scheduler/retention.ts";
import { JobStore } from "../../../services/scheduler/store.ts";
import { type Cleanup, tempDir } from "../../support/temp.ts";
import { echo } from "./set-up.ts";

/** Retention over a real store and a journal in memory, with a clock that the test moves. */

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
const MB = 1024 * 1024;
const UNBOUNDED: RetentionLimits = { maxAgeMs: 1e12, maxJobs: 1e9, journalMaxBytes: 1024 * MB };

class Stream {
  readonly messages = new Map<number, Uint8Array>();
  maxBytes = 0;
  first = 1;
  last = 0;

  get bytes(): number {
    return [...this.messages.values()].reduce((sum, data) => sum + data.length, 0);
  }

  async append(_subject: string, data: Uint8Array): Promise<number> {
    this.last += 1;
    this.messages.set(this.last, data);
    return this.last;
  }

  async streamInfo(): Promise<StreamInfo> {
    const { bytes, first: firstSequence, last: lastSequence, messages } = this;
    return { bytes, firstSequence, lastSequence, messages: messages.size, createdAt: "now" };
  }

  /** Answers as a replica that has nothing yet. */
  lags = false;

  async getMessage(
    _stream: string,
    query: { readonly sequence: number } | { readonly lastBySubject: string },
  ) {
    if (this.lags) return undefined;
    const sequence = "sequence" in query ? query.sequence : this.last;
    const data = this.messages.get(sequence);
    return data && { sequence, data, timeMs: 0 };
  }

  async purge(
    _stream: string,
    which: { readonly below: number } | { readonly subject: string },
  ): Promise<void> {
    const below = "below" in which ? which.below : 0;
    for (; this.first < below; this.first++) this.messages.delete(this.first);
  }

  async setMaxBytes(_stream: string, maxBytes: number): Promise<void> {
    this.maxBytes = maxBytes;
  }
}

async function setUp(t: Cleanup, limits: Partial<RetentionLimits>) {
  const time = { ms: NOW_MS };
  const clock: Clock = { ...systemClock, now: () => time.ms };
  const nats = new Stream();
  const store = new JobStore(join(await tempDir(t), "store"));
  const position = {
    ...{ streamCreatedAt: "now", sequence: 0, bytes: new Uint8Array(0) },
    ...{ outcomesThrough: 0, lastLease: 0n, queues: [], lastAtMs: 0 },
  };
  const projection = new Projection(store, position, clock, silentLog());
  t.after(() => projection.close());
  const { table } = projection;
  const journal = new Journal<Transition>({
    ...{ nats, clock, epoch: 0, outcomesThrough: 0, lastLease: 0n, queues: new Queues([]) },
    onCommitted: (batch, sequence, bytes) => void projection.committed(batch, sequence, bytes),
    onLost: (error) => assert.fail(error),
  });
  table.lead(journal, () => undefined);
  const retention = new Retention({
    ...{ nats, clock, log: silentLog(), table, limits: { ...UNBOUNDED, ...limits } },
    settled: () => journal.settled(),
    flush: () => projection.flush(),
    outcomesThrough: () => 0,
  });
  const submit = async (runAt?: Date, size = 10): Promise<string> => {
    const submission = echo(runAt ? { runAt } : {});
    const spec = submission.request?.spec?.spec;
    if (spec?.$case === "echo") spec.value.message = "x".repeat(size);
    const { jobId } = table.submit(submission);
    await journal.settled();
    return jobId;
  };
  const end = async (jobId: string): Promise<void> => {
    assert.ok(table.transition(jobId, { kind: "requestCancel", reason: "" }).accepted);
    await journal.settled();
  };
  const run = async (): Promise<void> => {
    await projection.flush();
    await retention.run();
  };
  const kept = (jobIds: readonly string[]): boolean[] =>
    jobIds.map((jobId) => table.find(jobId)?.committed !== undefined);
  return { time, nats, projection, retention, submit, end, run, kept };
}

test("an ended job leaves when its end is longer ago than the age, however old it was then; others never", async (t) => {
  const { time, submit, end, run, kept } = await setUp(t, { maxAgeMs: 1_000 });
  const jobs = [await submit(), await submit(), await submit(new Date(NOW_MS + 1e10)), await submit()];
  const [first = "", second = ""] = jobs;
  time.ms += 5_000;
  await end(first);
  time.ms += 400;
  await end(second);
  time.ms += 600;
  await run();
  assert.deepEqual(kept(jobs), [true, true, true, true], "exactly as old as allowed");
  time.ms += 1;
  await run();
  assert.deepEqual(kept(jobs), [false, true, true, true]);
  time.ms += 400;
  await run();
  assert.deepEqual(kept(jobs), [false, false, true, true]);
  time.ms += 1e9;
  await run();
  assert.deepEqual(kept(jobs), [false, false, true, true], "scheduled and pending jobs don't age");
});

test("a job that was retried and has just ended again is not as old as its first end", async (t) => {
  const { time, projection, retention, submit, end, run, kept } = await setUp(t, { maxAgeMs: 1_000 });
  const jobId = await submit();
  await end(jobId);
  await projection.flush();
  time.ms += 1_001;
  assert.ok(
    projection.table.transition(jobId, { kind: "retry", fromCheckpoint: false, endedRevision: 0n }).accepted,
  );
  await end(jobId);
  // The disk still has its first end.
  await retention.run();
  assert.deepEqual(kept([jobId]), [true]);
  await run();
  assert.deepEqual(kept([jobId]), [true]);
  time.ms += 1_001;
  await run();
  assert.deepEqual(kept([jobId]), [false]);
});

test("what a lagging replica has not got yet is neither purged nor a reason to delete jobs", async (t) => {
  const { nats, projection, retention, submit, end, run, kept } = await setUp(t, { journalMaxBytes: MB });
  const jobs: string[] = [];
  for (let n = 0; n < 40; n++) jobs.push(await submit(undefined, 16_000));
  const ended = jobs.slice(0, 20);
  for (const jobId of ended) await end(jobId);
  await projection.flush();
  nats.lags = true;
  await assert.rejects(retention.run(), { code: "UNAVAILABLE" });
  assert.deepEqual([nats.first, kept(jobs).every(Boolean)], [1, true]);
  nats.lags = false;
  await run();
  assert.ok(nats.first > 1);
  assert.ok(kept(jobs.slice(20)).every(Boolean));
});

test("of too many ended jobs those leave that ended first, not those that were submitted first", async (t) => {
  const { time, submit, end, run, kept } = await setUp(t, { maxJobs: 2 });
  const jobs = [await submit(), await submit(), await submit(), await submit()];
  const [a = "", b = "", c = ""] = jobs;
  for (const jobId of [c, a]) {
    time.ms += 10;
    await end(jobId);
  }
  await run();
  assert.deepEqual(kept(jobs), [true, true, true, true], "exactly as many as allowed");
  time.ms += 10;
  await end(b);
  await run();
  assert.deepEqual(kept(jobs), [true, true, false, true]);
});

test("too many and too old at once: no more leave than must", async (t) => {
  const { time, submit, end, run, kept } = await setUp(t, { maxJobs: 2, maxAgeMs: 1_000 });
  const jobs = [await submit(), await submit(), await submit()];
  for (const jobId of jobs) {
    await end(jobId);
    time.ms += 400;
  }
  await run();
  assert.deepEqual(kept(jobs), [false, true, true]);
});

test("above 80 % of the bound superseded records go first, then the longest ended jobs, and no others", async (t) => {
  const { nats, retention, time, submit, end, run, kept } = await setUp(t, { journalMaxBytes: MB });
  const high = 0.8 * MB;
  const ended: string[] = [];
  const add = async (): Promise<void> => {
    const jobId = await submit(undefined, 16_000);
    time.ms += 1;
    await end(jobId);
    ended.push(jobId);
  };
  const waiting = await submit();
  while (ended.length < 20) await add();
  await run();
  assert.ok(kept(ended).every(Boolean), "two records a job, 640 KB, of which 320 KB are wanted");
  while (ended.length < 35) await add();
  await run();
  assert.ok(nats.bytes <= high && kept(ended).every(Boolean), "560 KB are wanted");
  while (ended.length < 70) {
    await add();
    await run();
  }
  assert.ok(nats.bytes <= high, `${nats.bytes} bytes`);
  const left = kept(ended);
  const firstKept = left.indexOf(true);
  assert.ok(firstKept > 10 && firstKept < 60, `${firstKept} of 70 left`);
  assert.ok(left.slice(firstKept).every(Boolean), "the longest ended ones left");
  assert.deepEqual(kept([waiting]), [true]);
  assert.equal(retention.full, false);
});

test("a journal that only active jobs fill is full until they end", async (t) => {
  const { nats, retention, submit, end, run, kept } = await setUp(t, { journalMaxBytes: MB });
  const jobs: string[] = [];
  while (nats.bytes <= 0.8 * MB) jobs.push(await submit(undefined, 16_000));
  await run();
  assert.equal(retention.full, true);
  assert.ok(kept(jobs).every(Boolean));
  const half = Math.floor(jobs.length / 2);
  for (const jobId of jobs.slice(0, half)) await end(jobId);
  await run();
  assert.equal(retention.full, false);
  assert.ok(kept(jobs.slice(half)).every(Boolean));
  assert.ok(nats.bytes <= 0.8 * MB);
});

test("a takeover of a stream with another limit than its own gives it its own back once it is small enough", async (t) => {
  const { nats, retention, projection, submit, end } = await setUp(t, { journalMaxBytes: MB });
  const jobs: string[] = [];
  while (nats.bytes <= 3 * MB) jobs.push(await submit(undefined, 16_000));
  await projection.flush();
  await retention.makeRoom();
  assert.deepEqual([nats.maxBytes, retention.full], [0, true], "all of it is wanted");
  for (const jobId of jobs) await end(jobId);
  await projection.flush();
  await retention.run();
  assert.deepEqual([nats.maxBytes, retention.full], [2 * MB, false]);
});

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { systemClock } from "../../../platform/clock.ts";
import type { JobFilter } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { Heartbeat } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { JobState } from "../../../services/scheduler/domain/state.ts";
import { GroupCounts } from "../../../services/scheduler/group-counts.ts";
import type { Entry } from "../../../services/scheduler/jobs.ts";
import { PendingQueue } from "../../../services/scheduler/pending-queue.ts";
import { Timers } from "../../../services/scheduler/timers.ts";
import { Workers } from "../../../services/scheduler/workers.ts";
import { accepted, commands, pending, states } from "./states.ts";

const entryOf = (head: JobState | undefined): Entry =>
  ({ jobId: head?.job.jobId ?? "", head, committed: head }) as unknown as Entry;

describe("pending queue", () => {
  test("first come first served within a type; the type that waits longest first", () => {
    const queue = new PendingQueue();
    const jobs = ["b", "a", "b", "a"].map((type, n) => entryOf(pending({ type, jobId: `job-${n}` })));
    for (const entry of jobs) queue.push(entry);
    assert.deepEqual(queue.readyTypes(), ["b", "a"]);
    assert.equal(queue.shift("b")?.jobId, "job-0");
    assert.deepEqual(queue.readyTypes(), ["a", "b"]);
    assert.equal(queue.peek("a")?.jobId, "job-1");
    assert.deepEqual(
      [queue.shift("a")?.jobId, queue.shift("a")?.jobId, queue.shift("a")],
      ["job-1", "job-3", undefined],
    );
    assert.equal(queue.shift("b")?.jobId, "job-2");
    assert.deepEqual(queue.readyTypes(), []);
  });

  test("passes over jobs that left PENDING, also when they came back to it later", () => {
    const queue = new PendingQueue();
    const [cancelled, again, deleted, last] = [1, 2, 3, 4].map((n) =>
      entryOf(pending({ jobId: `job-${n}` })),
    );
    assert.ok(cancelled && again && deleted && last);
    for (const entry of [cancelled, again, deleted, last]) queue.push(entry);
    cancelled.head = states.CANCELLED;
    again.head = accepted(states.RUNNING, commands.release).state;
    queue.push(again);
    deleted.head = undefined;
    assert.equal(queue.shift("echo"), last);
    assert.equal(queue.shift("echo"), again);
    assert.equal(queue.shift("echo"), undefined);
  });

  test("keeps its order over thousands taken and added", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(400), { maxLength: 30 }), (turns) => {
        const queue = new PendingQueue();
        let pushed = 0;
        let taken = 0;
        for (const [n, count] of turns.entries()) {
          for (let i = 0; i < count; i++) {
            if (n % 2 === 0) queue.push({ ...entryOf(states.PENDING), jobId: String(pushed++) });
            else if (taken < pushed) assert.equal(queue.shift("echo")?.jobId, String(taken++));
          }
        }
        while (taken < pushed) assert.equal(queue.shift("echo")?.jobId, String(taken++));
        assert.equal(queue.shift("echo"), undefined);
      }),
      { numRuns: 50 },
    );
  });
});

describe("pending queue, jobs that leave", () => {
  test("cancelled ones behind one that waits don't stay in memory", () => {
    const queue = new PendingQueue();
    const make = (jobId: string): Entry => entryOf(pending({ jobId }));
    queue.push(make("first"));
    for (let n = 0; n < 20_000; n++) {
      const entry = make(String(n));
      queue.push(entry);
      entry.head = undefined;
    }
    assert.ok(queue.size <= 2_048, `${queue.size} are held`);
    assert.equal(queue.shift("echo")?.jobId, "first");
  });
});

describe("workers", () => {
  const beat = (workerId: string, fields: Partial<Heartbeat> = {}): Heartbeat =>
    Heartbeat.fromPartial({ workerId, slots: 2, types: ["echo"], ...fields } as never);

  const freest = (workers: Workers) => workers.free("echo").sort((a, b) => b.slots - a.slots)[0];

  test("leases granted and not ended take slots at once, without a heartbeat", () => {
    const workers = new Workers();
    assert.equal(workers.hear(beat("w"), 0), true);
    assert.equal(workers.hear(beat("w"), 1), false);
    workers.granted("w", 1n, "job-1", 0);
    workers.granted("w", 2n, "job-2", 0);
    assert.equal(freest(workers), undefined);
    workers.ended("w", 1n);
    assert.equal(freest(workers)?.workerId, "w");
    // A heartbeat that was on its way does not bring the slot back a second time, nor take it.
    workers.hear(beat("w", { held: [{ lease: 1n, jobId: "job-1", finished: true }] }), 2);
    const worker = workers.get("w");
    assert.equal(worker && workers.freeSlots(worker), 1);
  });

  test("the freest worker that has a handler for the type", () => {
    const workers = new Workers();
    workers.hear(beat("small", { slots: 1 }), 0);
    workers.hear(beat("large", { slots: 8 }), 0);
    workers.hear(beat("other", { slots: 99, types: ["batch_import"] }), 0);
    workers.hear(beat("leaving", { slots: 99, draining: true }), 0);
    assert.equal(freest(workers)?.workerId, "large");
    for (let lease = 1n; lease <= 8n; lease++) workers.granted("large", lease, "job", 0);
    assert.equal(freest(workers)?.workerId, "small");
    assert.deepEqual(workers.free("batch_export"), []);
  });

  test("fewer slots than leases give no free slot", () => {
    const workers = new Workers();
    workers.granted("w", 1n, "job-1", 0);
    assert.equal(freest(workers), undefined);
    workers.hear(beat("w", { slots: 0 }), 0);
    assert.equal(freest(workers), undefined);
  });

  test("silence counts from the last heartbeat", () => {
    const workers = new Workers();
    workers.hear(beat("a"), 0);
    workers.hear(beat("b"), 500);
    assert.deepEqual(
      workers.silent(6_001, 6_000).map(({ workerId }) => workerId),
      ["a"],
    );
    workers.forget("a");
    assert.deepEqual(workers.silent(6_001, 6_000), []);
  });
});

describe("timers", () => {
  test("fire in order of time, not before it", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
    const due: string[] = [];
    const timers = new Timers(
      systemClock,
      (jobIds) => due.push(...jobIds),
      () => true,
    );
    timers.add("late", new Date(1_000_300));
    timers.add("early", new Date(1_000_100));
    timers.add("past", new Date(999_000));
    t.mock.timers.tick(0);
    assert.deepEqual(due, ["past"]);
    t.mock.timers.tick(99);
    assert.deepEqual(due, ["past"]);
    t.mock.timers.tick(1);
    assert.deepEqual(due, ["past", "early"]);
    t.mock.timers.tick(200);
    assert.deepEqual(due, ["past", "early", "late"]);
    assert.equal(timers.size, 0);
    timers.stop();
  });

  test("look at the clock at least each second: a moved clock is noticed", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
    const due: string[] = [];
    const timers = new Timers(
      systemClock,
      (jobIds) => due.push(...jobIds),
      () => true,
    );
    timers.add("tomorrow", new Date(1_000_000 + 86_400_000));
    t.mock.timers.setTime(1_000_000 + 86_400_000);
    t.mock.timers.tick(1_000);
    assert.deepEqual(due, ["tomorrow"]);
    timers.stop();
  });

  test("many due at once come in slices of at most 1,000", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
    const slices: number[] = [];
    const timers = new Timers(
      systemClock,
      (jobIds) => slices.push(jobIds.length),
      () => true,
    );
    for (let n = 0; n < 2_500; n++) timers.add(String(n), new Date(1_000_010));
    for (let n = 0; n < 5; n++) t.mock.timers.tick(10);
    assert.deepEqual(slices, [1_000, 1_000, 500]);
    timers.stop();
  });

  test("of jobs that ended are dropped when there are many", () => {
    const timers = new Timers(
      systemClock,
      () => assert.fail("fired"),
      (jobId) => jobId.startsWith("wanted"),
    );
    const at = new Date(Date.now() + 86_400_000);
    for (let n = 0; n < 100; n++) timers.add(`wanted-${n}`, at);
    for (let n = 0; n < 100_000; n++) timers.add(`ended-${n}`, at);
    assert.ok(timers.size <= 10_100, `${timers.size} timers`);
    timers.stop();
  });

  test("stopped, nothing fires any more", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
    const timers = new Timers(
      systemClock,
      () => assert.fail("fired"),
      () => true,
    );
    timers.add("a", new Date(1_000_010));
    timers.stop();
    timers.add("b", new Date(1_000_000));
    t.mock.timers.tick(5_000);
  });
});

describe("group counts", () => {
  const filter = (fields: Partial<JobFilter>): JobFilter => ({
    statuses: [],
    types: [],
    libraryId: "",
    labels: {},
    createdAfter: undefined,
    createdBefore: undefined,
    ...fields,
  });

  test("are what a count of all jobs gives, for every filter", () => {
    const names = ["PENDING", "RUNNING", "COMPLETED", "FAILED"] as const;
    const anyJob = fc.record({
      name: fc.constantFrom(...names),
      type: fc.constantFrom("echo", "batch_import"),
      libraryId: fc.constantFrom("", "l/1", "l"),
    });
    const stateOf = ({
      name,
      type,
      libraryId,
    }: {
      name: (typeof names)[number];
      type: string;
      libraryId: string;
    }) => ({
      ...states[name],
      job: { ...states[name].job, type, libraryId },
    });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(5), fc.option(anyJob, { nil: undefined })), { maxLength: 60 }),
        (moves) => {
          const counts = new GroupCounts();
          const jobs = new Map<number, JobState>();
          for (const [id, job] of moves) {
            const to = job && stateOf(job);
            counts.move(jobs.get(id), to);
            if (to) jobs.set(id, to);
            else jobs.delete(id);
          }
          const expected = (matches: (state: JobState) => boolean): number =>
            [...jobs.values()].filter(matches).length;
          assert.equal(counts.total(undefined), jobs.size);
          const kinds = counts.matching(undefined);
          assert.equal(
            kinds.reduce((sum, { count }) => sum + count, 0),
            jobs.size,
          );
          assert.equal(new Set(kinds.map(({ type, status }) => `${type} ${status}`)).size, kinds.length);
          for (const kind of kinds) {
            const { count } = kind;
            assert.equal(
              count,
              expected(({ job }) => job.type === kind.type && job.status === kind.status),
            );
          }
          assert.equal(
            counts.total(filter({ libraryId: "l" })),
            expected(({ job }) => job.libraryId === "l"),
          );
          const { status } = states.RUNNING.job;
          assert.equal(
            counts.total(filter({ statuses: [status] })),
            expected(({ job }) => job.status === status),
          );
          assert.equal(
            counts.total(filter({ types: ["echo"], libraryId: "l" })),
            expected(({ job }) => job.type === "echo" && job.libraryId === "l"),
          );
        },
      ),
    );
  });

  test("tell which groups changed since the last time, empty ones once more", () => {
    const counts = new GroupCounts();
    counts.move(undefined, states.PENDING);
    assert.deepEqual(
      counts.takeChanged().map(({ count }) => count),
      [1],
    );
    assert.deepEqual(counts.takeChanged(), []);
    counts.move(states.PENDING, states.RUNNING);
    assert.deepEqual(
      counts
        .takeChanged()
        .map(({ count }) => count)
        .sort(),
      [0, 1],
    );
    counts.move(states.RUNNING, states.PENDING);
    assert.equal(counts.total(undefined), 1);
  });
});

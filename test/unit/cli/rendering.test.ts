import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bar } from "../../../cli/bar.ts";
import { EventRates } from "../../../cli/event-rates.ts";
import { JobBoard } from "../../../cli/job-board.ts";
import { rateText, shares, type TopState, topFrame } from "../../../cli/top-frame.ts";
import { JobStatus } from "../../../client/index.ts";
import { GetQueueStatsResponse, Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { Worker } from "../../../proto/gen/arrwdb/v1/queues.ts";

const NOW = new Date("2026-01-31T09:04:50Z");
const idOf = (n: number): string => `0190${String(n).padStart(4, "0")}-0000-7000-8000-000000000000`;

function running(n: number, current: number, revision = 1): Job {
  return Job.fromPartial({
    jobId: idOf(n),
    type: "regenerate_embeddings",
    libraryId: "lib",
    status: JobStatus.JOB_STATUS_RUNNING,
    revision,
    startedAt: new Date(NOW.getTime() - 5_000),
    progress: { current, total: 100, percentage: current },
  });
}

test("a bar is full only when all is done, and not empty once something is", () => {
  assert.equal(bar(0, 4), "░░░░");
  assert.equal(bar(0.001, 4), "█░░░");
  assert.equal(bar(0.999, 4), "███░");
  assert.equal(bar(1, 4), "████");
  fc.assert(
    fc.property(
      fc.double({ min: -2, max: 3, noNaN: true }),
      fc.integer({ min: 2, max: 60 }),
      (share, width) => {
        assert.equal([...bar(share, width)].length, width);
      },
    ),
  );
});

test("the board: running jobs first, a line each that fits; ended ones leave it, once", () => {
  const board = new JobBoard();
  board.name("lib", "docs");
  assert.equal(
    board.apply(Job.fromPartial({ jobId: idOf(1), type: "echo", status: 1, revision: 1 }), 0),
    false,
  );
  assert.equal(board.apply(running(2, 10), 0), false);
  board.apply(running(2, 30, 2), 1_000);
  assert.deepEqual(board.active, [idOf(2), idOf(1)]);
  assert.deepEqual(board.lines({ columns: 79, rows: 10 }, 1_000), [
    `${idOf(2)} regenerate_e… ███░░░░░░░  30 % ETA 4 s`,
    `${idOf(1)} echo          pending`,
  ]);
  const [wide] = board.lines({ columns: 140, rows: 10 }, 1_000);
  assert.match(
    wide ?? "",
    /regenerate_embeddings {2}docs +█{6}░{14} {3}30 % {2}30\/100 {2}20\/s {2}ETA 4 s$/,
  );
  // An older revision, as a list and a watch may bring it, changes nothing.
  board.apply(running(2, 5, 1), 2_000);
  assert.match(board.lines({ columns: 79, rows: 10 }, 2_000)[0] ?? "", / 30 %/);
  const ended = Job.fromPartial({ jobId: idOf(2), status: JobStatus.JOB_STATUS_COMPLETED, revision: 3 });
  assert.equal(board.apply(ended, 3_000), true);
  assert.equal(board.apply(ended, 3_000), false);
  assert.deepEqual(board.active, [idOf(1)]);
});

test("the board says how many jobs there is no room for", () => {
  const board = new JobBoard();
  for (let n = 1; n <= 20; n++) board.apply(running(n, n), 0);
  const lines = board.lines({ columns: 79, rows: 5 }, 0);
  assert.equal(lines.length, 5);
  assert.equal(lines.at(-1), "and 16 jobs more, 16 running");
});

test("rates are of the last seconds", () => {
  const rates = new EventRates(0);
  for (let ms = 0; ms < 10_000; ms += 100) rates.add("job.completed", ms);
  assert.ok(Math.abs(rates.perSecond("job.completed", 10_000) - 10) < 1);
  assert.equal(rates.perSecond("job.failed", 10_000), 0);
  assert.equal(rates.perSecond("job.completed", 20_000), 0);
  assert.deepEqual([0, 0.42, 12.3, 1_234.5].map(rateText), ["0/s", "0.4/s", "12/s", "1,235/s"]);
});

function topState(jobs: number, workers: number, types: number): TopState {
  return {
    address: "127.0.0.1:50051",
    stats: GetQueueStatsResponse.fromPartial({
      running: true,
      runningJobs: 4,
      slots: 8,
      slotsUsed: 4,
      byType: Array.from({ length: types }, (_, i) => ({
        type: `type_${i}`,
        pendingJobs: i,
        paused: i === 1,
      })),
    }),
    workers: Array.from({ length: workers }, (_, i) =>
      Worker.fromPartial({ workerId: idOf(i), host: "host", slots: 4, heardAt: NOW }),
    ),
    jobs: Array.from({ length: jobs }, (_, i) => running(i, i)),
    names: new Map([["lib", "docs"]]),
    rates: { submitted: 2, completed: 1.5, failed: 0 },
    trouble: "",
  };
}

test("top fits its terminal, whatever there is to show", () => {
  fc.assert(
    fc.property(
      fc.record({
        jobs: fc.nat(60),
        workers: fc.nat(30),
        types: fc.nat(7),
        columns: fc.integer({ min: 20, max: 200 }),
        rows: fc.integer({ min: 5, max: 60 }),
      }),
      ({ jobs, workers, types, columns, rows }) => {
        const lines = topFrame(topState(jobs, workers, types), { columns, rows }, NOW);
        assert.ok(lines.length <= rows, `${lines.length} lines`);
        for (const line of lines) assert.ok([...line].length <= columns, line);
      },
    ),
  );
});

test("top at 80x24 shows some of each: types, workers, jobs", () => {
  const text = topFrame(topState(50, 10, 3), { columns: 80, rows: 24 }, NOW).join("\n");
  assert.match(text, /^arrwDB 127\.0\.0\.1:50051 +\d\d:04:50\nstate {3}dispatches\njobs {4}4 running, /);
  assert.match(
    text,
    /\nflow {4}2\.0\/s submitted, 1\.5\/s completed, 0\/s failed\nslots {3}█{10}░{10} {2}4 of 8 in use\n/,
  );
  assert.match(text, /\nTYPE .*\ntype_0 +0 .*\ntype_1 +1 .* paused\n/);
  assert.match(text, /\nWORKER .*\n0190.* 0 of 4 /);
  assert.match(text, /\nJOB .*\n01900000.* running +regenerate_e… +0 % +5\.00 s/);
  const hidden = topFrame(
    { ...topState(1, 0, 0), workers: "workers: not to be seen" },
    { columns: 80, rows: 24 },
    NOW,
  );
  assert.ok(hidden.includes("workers: not to be seen"));
});

test("rows are shared so that none goes without", () => {
  assert.deepEqual(shares(12, [3, 10, 50]), [3, 5, 4]);
  assert.deepEqual(shares(30, [1, 1, 50]), [1, 1, 28]);
  assert.equal(
    shares(3, [5, 5, 5]).reduce((sum, each) => sum + each, 0),
    3,
  );
});

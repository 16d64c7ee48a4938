import assert from "node:assert/strict";
import { test } from "node:test";
import { decimal, time } from "../../../cli/arguments.ts";
import { queueLines, queueText } from "../../../cli/commands/queue.ts";
import { workerLines } from "../../../cli/commands/workers.ts";
import { runOptions } from "../../../cli/run-options.ts";
import { GetQueueStatsResponse } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { Worker } from "../../../proto/gen/arrwdb/v1/queues.ts";

const at = (seconds: number): Date => new Date(1_700_000_000_000 + seconds * 1_000);

test("times are read with their unit, numbers as they are", () => {
  const cases: [string, bigint, number][] = [
    ["250ms", 0n, 250_000_000],
    ["1.5s", 1n, 500_000_000],
    ["90 s", 90n, 0],
    ["5m", 300n, 0],
    ["5min", 300n, 0],
    ["2h", 7_200n, 0],
    ["30d", 2_592_000n, 0],
  ];
  for (const [text, seconds, nanos] of cases) assert.deepEqual(time(text), { seconds, nanos }, text);
  for (const text of ["", "5", "-1s", "1y", "s", "1.2345s"])
    assert.throws(() => time(text), /expected a time/);
  assert.equal(decimal("0.5"), 0.5);
  for (const text of ["", "x", "Infinity"]) assert.throws(() => decimal(text), /expected a number/);
});

test("only what is given of a job's options is sent", () => {
  assert.deepEqual(runOptions({}), {});
  const options = { jitter: 0, backoffMax: time("5m"), totalTimeout: time("1h"), maxRetries: 0 };
  assert.deepEqual(runOptions(options), {
    maxRetries: 0,
    totalTimeout: { seconds: 3_600n, nanos: 0 },
    retryPolicy: { jitter: 0, backoffMax: { seconds: 300n, nanos: 0 } },
  });
});

test("queues in words", () => {
  assert.equal(queueText({ type: "", paused: true, maxRunning: 0 }), "all queues: paused");
  assert.equal(
    queueText({ type: "echo", paused: false, maxRunning: 1_000 }),
    "echo: running, at most 1,000 at a time",
  );
  const stats = (fields: object) =>
    queueLines(GetQueueStatsResponse.fromPartial({ running: true, ...fields } as never));
  assert.deepEqual(stats({}), ["no jobs wait or run"]);
  assert.deepEqual(stats({ running: false }), ["all queues are paused"]);
  // A standby does not dispatch either.
  assert.deepEqual(stats({ running: false, staleSequence: 9n }), ["no jobs wait or run"]);
  const [, echo, imports] = stats({
    byType: [
      { type: "echo", pendingJobs: 12n, runningJobs: 3n, maxRunning: 3, paused: true },
      { type: "batch_import", oldestPendingAge: { seconds: 90n } },
    ],
  });
  assert.match(echo ?? "", /^echo +12 +3 +3 +- +paused$/);
  assert.match(imports ?? "", /^batch_import +0 +0 +- +1 min 30 s$/);
});

test("workers as a table; what they say of themselves steers no terminal", () => {
  assert.deepEqual(workerLines([], 0), ["no workers"]);
  const worker = Worker.fromPartial({
    workerId: "w1",
    host: "node\u001b[2J1",
    version: "0.1.0",
    types: ["echo"],
    slots: 4,
    leases: [{ lease: 1n, jobId: "j" }],
    draining: true,
    startedAt: at(0),
    heardAt: at(59),
  });
  const [, line] = workerLines([worker], at(60).getTime());
  assert.match(line ?? "", /^w1 +node \[2J1 +0\.1\.0 +1 of 4 +echo +60 s +1 s ago +draining$/);
});

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { JournalBatch } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { Projection } from "../../../services/scheduler/projection.ts";
import { explain } from "../../simulation/check.ts";
import { Link } from "../../simulation/link.ts";
import type { JobPlan, Plan } from "../../simulation/plan.ts";

/** Schedules that have shown a bug, as simple as they became; each passes now, and fails where its guard is taken out. */

const ECHO: JobPlan = {
  at: 0,
  type: "echo",
  library: "",
  ms: 0,
  checkpoints: 0,
  endings: [],
  maxRetries: 0,
  withRequestId: false,
  delayMs: 0,
  executionTimeoutMs: 0,
  totalTimeoutMs: 0,
  key: "",
  keyLimit: 1,
  fastRetries: true,
};

const SIMPLE = {
  seed: 0,
  schedulers: 1,
  workers: 1,
  slots: 1,
  loss: 0,
  duplicates: 0,
  journalMs: 0,
  keepJobs: 1_000,
  journalBytes: 1_000_000,
};

const PIPELINED: Plan = {
  ...SIMPLE,
  schedulers: 2,
  jobs: [
    { ...ECHO, at: 1_364 },
    { ...ECHO, at: 1_540 },
  ],
  actions: [{ at: 1_035, do: "lose leader key" }],
};

test("a deposed leader's second append in flight is not stored behind the successor's EPOCH batch", async (t) => {
  assert.deepEqual((await explain(PIPELINED)).failures, []);
  withoutNames(t);
  assert.match((await explain(PIPELINED)).failures.join(), /two schedulers write/);
});

function withoutNames(t: TestContext): void {
  const { append } = Link.prototype;
  t.mock.method(Link.prototype, "append", function (this: Link, ...args: Parameters<Link["append"]>) {
    const { expectedLastMessageId: _, ...rest } = args[2];
    return append.call(this, args[0], args[1], rest);
  });
}

const CLOCK_BEHIND: Plan = {
  ...SIMPLE,
  jobs: [
    { ...ECHO, at: 41 },
    { ...ECHO, at: 995 },
  ],
  actions: [
    { at: 1_032, do: "stop scheduler", which: 0, ms: 0 },
    { at: 43, do: "shift clock", which: 0, ms: -1_553 },
  ],
};

test("times in the journal don't go back after a start from the local store with a clock that is behind", async (t) => {
  assert.deepEqual((await explain(CLOCK_BEHIND)).failures, []);
  const { decode } = JournalBatch;
  t.mock.method(JournalBatch, "decode", (...args: Parameters<typeof decode>) => {
    return { ...decode(...args), lastAt: undefined };
  });
  assert.match((await explain(CLOCK_BEHIND)).failures.join(), /the time goes back/);
});

test("a job that allows none beside it does not start beside one that allows two", async () => {
  const plan: Plan = {
    ...SIMPLE,
    workers: 2,
    jobs: [
      { ...ECHO, at: 163, type: "batch_import", library: "library-1", key: "key-1", keyLimit: 2 },
      { ...ECHO, at: 148, key: "key-1", keyLimit: 1 },
      { ...ECHO, type: "batch_import", library: "library-1" },
    ],
    actions: [{ at: 148, do: "pause", type: "" }],
  };
  assert.deepEqual((await explain(plan)).failures, []);
});

/** Four jobs end while the acknowledgements of two batches take long, and the journal is compacted just then. */
const COMPACTED: Plan = {
  ...SIMPLE,
  seed: 479_396,
  schedulers: 3,
  workers: 2,
  slots: 3,
  loss: 0.2,
  journalBytes: 16_000,
  jobs: [
    { ...ECHO, at: 500 },
    {
      ...ECHO,
      at: 573,
      type: "batch_import",
      library: "library-1",
      ms: 300,
      checkpoints: 2,
      endings: ["fail for good"],
    },
    { ...ECHO, at: 654, type: "index_rebuild", library: "library-1", checkpoints: 2 },
    { ...ECHO, at: 819, ms: 3_000, maxRetries: 1, executionTimeoutMs: 200 },
  ],
  actions: [
    { at: 3_112, do: "pause", type: "" },
    { at: 18, do: "lose append", stream: "JOURNAL", stored: true },
    { at: 576, do: "break all links", ms: 807 },
    { at: 2_998, do: "resume", type: "" },
    { at: 1_167, do: "kill worker", which: 4, ms: 3_853 },
    { at: 2_827, do: "lose leader key" },
  ],
};

test("a job's newest record is not purged while its acknowledgement is on its way", async (t) => {
  assert.deepEqual((await explain(COMPACTED)).failures, []);
  // What the store goes through would be whatever the stream holds.
  const { flush } = Projection.prototype;
  t.mock.method(Projection.prototype, "flush", async function (this: Projection) {
    const through = await flush.call(this);
    return through === 0 ? 0 : through + 100;
  });
  assert.match((await explain(COMPACTED)).failures.join(), /another state of job-1/);
});

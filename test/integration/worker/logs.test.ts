import assert from "node:assert/strict";
import { test } from "node:test";
import { Stream, Subject } from "../../../platform/nats/names.ts";
import { JobLogBatch } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Handler } from "../../../services/worker/handler.ts";
import { HandlerRegistry } from "../../../services/worker/registry.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestNats } from "../../support/nats.ts";
import { FakeScheduler } from "./fake-scheduler.ts";
import { reversed, startHarness } from "./harness.ts";
import { startWorkerProcess } from "./worker-process.ts";

const ms = (value: number) => ({ seconds: BigInt(Math.floor(value / 1000)), nanos: (value % 1000) * 1e6 });

/** What is stored of a job's log. */
async function logOf({ nats }: FakeScheduler, jobId: string): Promise<JobLogBatch[]> {
  const subject = Subject.jobLog(jobId);
  const last = await nats.getMessage(Stream.logs, { lastBySubject: subject });
  const batches: JobLogBatch[] = [];
  if (!last) return batches;
  const range = { from: 1, to: last.sequence };
  await nats.readSubject(
    Stream.logs,
    subject,
    range,
    ({ data }) => batches.push(JobLogBatch.decode(data)),
    5_000,
  );
  return batches;
}

const linesOf = (batches: readonly JobLogBatch[]): string[] =>
  batches.flatMap(({ lines }) => lines.map(({ text }) => text));

/** A worker whose echo is another handler. */
const handlers = (run: Handler<"echo">["run"]): HandlerRegistry =>
  new HandlerRegistry().add({ type: "echo", kind: "echo", run });

test("a handler's lines are stored when the outcome is, each attempt under its own lease", async (t) => {
  const { scheduler } = await startHarness(t);
  for (const attempt of [1, 2]) {
    const grant = scheduler.grant({ jobId: "j", attempt, echo: { steps: 3, failTimes: 1 } });
    await scheduler.assign([grant]);
    await scheduler.outcomeOf(grant.lease);
  }
  const batches = await logOf(scheduler, "j");
  assert.deepEqual(
    batches.map(({ lease, attempt, firstLine }) => [lease, attempt, firstLine]),
    [
      [1n, 1, 1],
      [2n, 2, 1],
    ],
  );
  const steps = ["step 1 of 3", "step 2 of 3", "step 3 of 3"];
  assert.deepEqual(linesOf(batches.slice(0, 1)), [
    ...steps,
    "attempt failed: ECHO_FAILED: attempt 1: the spec says that the first 1 fail",
  ]);
  assert.deepEqual(linesOf(batches.slice(1)), steps);
  assert.equal(batches[0]?.lines.at(-1)?.level, "error");
  // An attempt that logs nothing stores nothing.
  const silent = scheduler.grant({ jobId: "silent" });
  await scheduler.assign([silent]);
  await scheduler.outcomeOf(silent.lease);
  assert.deepEqual(await logOf(scheduler, "silent"), []);
});

test("lines arrive while the handler runs, within a second, in few messages", async (t) => {
  const { scheduler } = await startHarness(t);
  const grant = scheduler.grant({ echo: { steps: 100, sleep: ms(1_000) } });
  await scheduler.assign([grant]);
  await eventually(async () => linesOf(await logOf(scheduler, grant.jobId)).length > 20);
  assert.deepEqual(scheduler.outcomesOf(grant.lease), []);
  await scheduler.outcomeOf(grant.lease);
  const batches = await logOf(scheduler, grant.jobId);
  assert.equal(linesOf(batches).length, 100);
  assert.ok(batches.length <= 6, `${batches.length} messages`);
});

test("a flood is cut to the rate, says so, and does not hide the failure", async (t) => {
  const { scheduler } = await startHarness(t, {
    handlers: handlers(async (_job, { log }) => {
      for (let n = 1; n <= 20_000; n++) log.info({ n }, "x".repeat(n % 100 === 0 ? 10_000 : 10));
      throw new Error("no more");
    }),
  });
  const grant = scheduler.grant();
  await scheduler.assign([grant]);
  await scheduler.outcomeOf(grant.lease);
  const batches = await eventually(async () => {
    const stored = await logOf(scheduler, grant.jobId);
    return linesOf(stored).at(-1)?.startsWith("attempt failed") ? stored : undefined;
  });
  const lines = linesOf(batches);
  const bytes = lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0);
  assert.ok(lines.length <= 1_050 && bytes <= 260 * 1_024, `${lines.length} lines, ${bytes} bytes`);
  assert.ok(lines.every((line) => Buffer.byteLength(line) <= 4_096));
  assert.match(lines.at(-1) ?? "", /^attempt failed: INTERNAL/);
  assert.match(lines.at(-2) ?? "", /^\d+ lines left out: more than 100 lines or 16 KiB a second$/);
});

test("without NATS a handler logs on and ends; its lines come when NATS is back", async (t) => {
  let go: () => void = () => undefined;
  let tookMs = Number.POSITIVE_INFINITY;
  const { server, scheduler } = await startHarness(t, {
    handlers: handlers(async ({ spec }, { log }) => {
      log.info("before");
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      const startedAtMs = performance.now();
      for (let n = 1; n <= 300; n++) log.info(`line ${n}`);
      tookMs = performance.now() - startedAtMs;
      return { message: spec.message };
    }),
  });
  const grant = scheduler.grant();
  await scheduler.assign([grant]);
  await eventually(async () => (await logOf(scheduler, grant.jobId)).length === 1);
  await server.kill();
  go();
  await server.restart();
  await scheduler.outcomeOf(grant.lease);
  assert.ok(tookMs < 500, `${tookMs} ms`);
  const lines = await eventually(async () => {
    const stored = linesOf(await logOf(scheduler, grant.jobId));
    return stored.length >= 301 ? stored : undefined;
  });
  assert.deepEqual(
    [...new Set(lines)],
    ["before", ...Array.from({ length: 300 }, (_, n) => `line ${n + 1}`)],
  );
});

test("of a worker that is killed, the lines up to its last flush are there", async (test) => {
  const t = reversed(test);
  const server = await startTestNats(t);
  const scheduler = await FakeScheduler.start(t, server.url);
  const { child, exited } = await startWorkerProcess(t, server.url);
  const grant = scheduler.grant({ echo: { steps: 1_000, sleep: ms(20_000) } });
  await scheduler.assign([grant]);
  await eventually(async () => linesOf(await logOf(scheduler, grant.jobId)).length >= 20, {
    timeoutMs: 20_000,
  });
  const progressed = Number(scheduler.progress.at(-1)?.progress?.current ?? 0);
  child.kill("SIGKILL");
  assert.equal(await exited, "SIGKILL");
  const lines = linesOf(await logOf(scheduler, grant.jobId));
  assert.deepEqual(
    lines,
    lines.map((_, n) => `step ${n + 1} of 1000`),
  );
  // 50 lines a second, flushed every 250 ms.
  assert.ok(lines.length >= progressed - 25, `${lines.length} lines, progress ${progressed}`);
});

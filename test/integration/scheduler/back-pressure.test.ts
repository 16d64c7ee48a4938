import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { eventually } from "../../support/eventually.ts";
import { completed } from "../../support/protocol-worker.ts";
import type { SchedulerProcess } from "../../support/scheduler-process.ts";
import { COMPLETED, echo, setUp } from "./set-up.ts";

const REFUSALS: ReadonlySet<string> = new Set(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]);

const rssMb = (pid: number): number =>
  Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

const readiness = async ({ probes }: SchedulerProcess): Promise<string> =>
  (await fetch(`${probes}/readyz`)).text();

test("JetStream that stands still: submits are refused, memory is bounded, nothing acknowledged is lost", async (test) => {
  // Room for all of it: nothing is evicted while the test looks.
  const room = { ARRW_JOURNAL_MAX_BYTES: String(2 * 1024 * 1024 * 1024) };
  const { server, scheduler, worker: startWorker } = await setUp(test, room);
  await startWorker({ slots: 50, answer: completed });
  assert.equal(await readiness(scheduler), "ready\n");
  const before = await scheduler.submit(echo());
  await scheduler.reaches(before.jobId, COMPLETED);
  const acknowledged: string[] = [];
  const codes = new Map<string, number>();
  const message = "x".repeat(16_000);
  const flooding = { on: true };
  const flood = async (): Promise<void> => {
    while (flooding.on) {
      const submissions = Array.from({ length: 100 }, () => {
        const each = echo();
        const spec = each.request?.spec?.spec;
        if (spec?.$case === "echo") spec.value.message = message;
        return each;
      });
      try {
        for (const { outcome } of await scheduler.submitAll(submissions, 1_000)) {
          if (outcome?.$case === "job") acknowledged.push(outcome.value.jobId);
          else if (outcome) codes.set(String(outcome.value.code), 1);
        }
      } catch (error) {
        const { code } = error as { code: string };
        codes.set(code, (codes.get(code) ?? 0) + 1);
        assert.ok(REFUSALS.has(code), `${code}: ${error}`);
        await sleep(20);
      }
    }
  };
  process.kill(server.pid, "SIGSTOP");
  const clients = Array.from({ length: 20 }, flood);
  let worstMb = 0;
  const notReady = await eventually(
    async () => {
      worstMb = Math.max(worstMb, rssMb(scheduler.pid));
      const text = await readiness(scheduler);
      return text === "ready\n" ? undefined : text;
    },
    { timeoutMs: 15_000, what: "/readyz says so" },
  );
  assert.match(notReady, /nats|leader/);
  // Long enough for the append in flight to be given up.
  for (let n = 0; n < 60; n++) {
    worstMb = Math.max(worstMb, rssMb(scheduler.pid));
    await sleep(100);
  }
  process.kill(server.pid, "SIGCONT");
  const after = await scheduler.submitUntilDurable([echo()]);
  flooding.on = false;
  assert.ok(after[0]?.outcome?.$case === "job");
  await scheduler.reaches(after[0].outcome.value.jobId, COMPLETED, 30_000);
  await Promise.all(clients);
  assert.ok(worstMb < 700, `${Math.round(worstMb)} MB`);
  assert.ok(codes.size > 0, "nothing was refused");
  for (const jobId of acknowledged) await scheduler.reaches(jobId, COMPLETED, 30_000);
  assert.equal(await readiness(scheduler), "ready\n");
  test.diagnostic(`refusals ${JSON.stringify([...codes])}, RssAnon at most ${Math.round(worstMb)} MB`);
});

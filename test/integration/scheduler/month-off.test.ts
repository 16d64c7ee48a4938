import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { eventually } from "../../support/eventually.ts";
import { completed } from "../../support/protocol-worker.ts";
import { reversed } from "../../support/reversed.ts";
import { tempDir } from "../../support/temp.ts";
import { COMPLETED, echo, SCHEDULED, setUp } from "./set-up.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

test("a laptop that was off for a month runs what was scheduled meanwhile; the rest still waits", async (test) => {
  const clockFile = join(await tempDir(reversed(test)), "clock");
  await writeFile(clockFile, "0");
  const movedClock = pathToFileURL(join(import.meta.dirname, "../../support/moved-clock.ts"));
  const { scheduler, server, worker } = await setUp(test, {
    NODE_OPTIONS: `--import=tsx --import=${movedClock.href}`,
    TEST_CLOCK_FILE: clockFile,
  });
  const at = (ms: number) => echo({ runAt: new Date(Date.now() + ms) });
  const first = await worker({ slots: 10, answer: completed });
  const ended = await scheduler.submit(echo());
  await scheduler.reaches(ended.jobId, COMPLETED);
  await first.stop();
  const soon = await scheduler.submit(at(HOUR_MS));
  const later = await scheduler.submit(at(20 * DAY_MS));
  const future = await scheduler.submit(at(40 * DAY_MS));
  const waiting = await scheduler.submit(echo({ requestId: "waits" }));

  await scheduler.kill("SIGTERM");
  await writeFile(clockFile, String(30 * DAY_MS));
  await server.restart();
  await scheduler.start();
  await scheduler.leads();

  // Jobs that had ended before are a month old now; others don't age.
  const isGone = () => assert.rejects(scheduler.get(ended.jobId), { code: "NOT_FOUND" }).then(() => true);
  await eventually(isGone, { what: "the ended job leaves" });
  assert.equal((await scheduler.stats()).totalJobs, 4n);
  assert.equal((await scheduler.submit(echo({ requestId: "waits" }))).jobId, waiting.jobId);
  await worker({ slots: 10, answer: completed });
  for (const { jobId } of [soon, later, waiting]) await scheduler.reaches(jobId, COMPLETED);
  const left = await scheduler.get(future.jobId);
  assert.equal(left.status, SCHEDULED);
  assert.equal(left.runAt?.getTime(), future.runAt?.getTime());
});

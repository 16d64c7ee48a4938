import { setTimeout as sleep } from "node:timers/promises";
import { ArrwClient } from "../../client/index.ts";
import type { Driver } from "./driver/driver.ts";
import { writerOfChunk } from "./driver/requests.ts";
import type { JobView } from "./history.ts";
import { clockMs, type Recorder } from "./recorder.ts";
import type { TortureSystem } from "./system/torture-system.ts";
import { viewOf } from "./views.ts";

/** The end of a run: everything is healed; what must come true now, and what is left then. */

const POLL_MS = 100;
const CALL_TIMEOUT_MS = 20_000;

export interface SettleOptions {
  readonly system: TortureSystem;
  readonly driver: Driver;
  readonly recorder: Recorder;
  readonly timeoutMs: number;
  readonly workerSlots: number;
}

/** Waits until every job has ended, and records jobs and documents as they are then. */
export async function settle(options: SettleOptions): Promise<void> {
  const { system, driver, recorder, timeoutMs, workerSlots } = options;
  const startedAtMs = clockMs();
  const deadlineMs = startedAtMs + timeoutMs;
  const client = new ArrwClient({ address: system.address, timeoutMs: CALL_TIMEOUT_MS });
  let unsettled = "";
  let jobs: JobView[] = [];
  let totalSize = 0;
  const events = driver.watching.events;
  try {
    await until(deadlineMs, async () => (await isQuiet(system, client)) || undefined);
    await recordLibraries(client, driver.libraryIds, recorder);
    ({ jobs, totalSize } = await listJobs(client));
    if (events !== undefined) await until(deadlineMs, async () => hasAllEvents(system, driver));
  } catch (error) {
    const open = system.taps.open().map(({ jobId, job }) => `${jobId} ${job?.status}`);
    const why = error instanceof Error ? error.message : String(error);
    unsettled = `the dust did not settle within ${timeoutMs} ms (${why}); not ended: ${open.join(", ") || "none"}`;
  } finally {
    client.close();
  }
  const settledAfterMs = Math.round(clockMs() - startedAtMs);
  recorder.add({
    kind: "final",
    jobs,
    totalSize,
    settledAfterMs,
    unsettled,
    workerSlots,
    eventsComplete: driver.watching.events !== undefined && unsettled === "",
  });
}

/** All jobs have ended, the journal is read to its end, and the scheduler says the same. */
async function isQuiet(system: TortureSystem, client: ArrwClient): Promise<boolean> {
  const { taps } = system;
  if (taps.open().length > 0 || !(await taps.isCurrent())) return false;
  const stats = await client.stats();
  return stats.runningJobs + stats.pendingJobs + stats.scheduledJobs + stats.blockedJobs === 0n;
}

/** It began before the first job: as many events as the journal has. That they are the same is for the checks. */
async function hasAllEvents(system: TortureSystem, driver: Driver): Promise<boolean> {
  return (driver.watching.events ?? Number.POSITIVE_INFINITY) >= system.taps.events;
}

async function listJobs(client: ArrwClient): Promise<{ jobs: JobView[]; totalSize: number }> {
  const jobs: JobView[] = [];
  for await (const job of client.jobs()) jobs.push(viewOf(job));
  const { totalSize } = await client.list({ pageSize: 1 });
  return { jobs, totalSize: Number(totalSize ?? -1n) };
}

async function recordLibraries(
  client: ArrwClient,
  libraryIds: readonly string[],
  recorder: Recorder,
): Promise<void> {
  for (const libraryId of libraryIds) {
    const documents = [];
    for await (const { documentId, texts } of client.documents(libraryId, {
      pageSize: 1_000,
      includeTexts: true,
    })) {
      const bodies = [...new Set(texts.map(writerOfChunk))];
      documents.push({ documentId, bodies, chunks: texts.length });
    }
    const { documentCount, chunkCount } = await client.getLibrary(libraryId);
    recorder.add({
      kind: "library",
      libraryId,
      documentCount: Number(documentCount),
      chunkCount: Number(chunkCount),
      documents,
    });
  }
}

async function until(deadlineMs: number, condition: () => Promise<boolean | undefined>): Promise<void> {
  let failure: unknown;
  while (clockMs() < deadlineMs) {
    try {
      if (await condition()) return;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    await sleep(POLL_MS);
  }
  throw failure ?? new Error("time is up");
}

import assert from "node:assert/strict";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { toArrwError } from "../../../platform/errors.ts";
import { serverStream } from "../../../platform/grpc/client.ts";
import { Stream } from "../../../platform/nats/names.ts";
import { ensureStreams } from "../../../platform/nats/streams.ts";
import {
  Job,
  JobFilter,
  JobStatus,
  WatchJobsRequest,
  type WatchJobsResponse,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { formatCursor } from "../../../services/gateway/domain/watch-cursor.ts";
import { eventually } from "../../support/eventually.ts";
import type { FakeScheduler } from "../../support/fake-scheduler.ts";
import { type StartedGateway, startGateway, startTestGateway } from "../../support/gateway.ts";

interface Watching {
  readonly events: WatchJobsResponse[];
  readonly ended: Promise<unknown>;
  stop(): void;
}

type Wanted = Partial<JobFilter>;

function watch({ jobs }: StartedGateway, afterCursor = "", filter?: Wanted): Watching {
  const events: WatchJobsResponse[] = [];
  const abort = new AbortController();
  const request: WatchJobsRequest = {
    filter: filter && { ...JobFilter.fromPartial({}), ...filter },
    afterCursor,
  };
  const run = async (): Promise<unknown> => {
    try {
      const call = { timeoutMs: 60_000, signal: abort.signal };
      for await (const event of serverStream(jobs, jobs.watchJobs, request, call)) events.push(event);
      return "OK";
    } catch (error) {
      return toArrwError(error);
    }
  };
  return { events, ended: run(), stop: () => abort.abort(new Error("enough")) };
}

const START = formatCursor(0);
const job = (n: number, fields: Partial<Job> = {}): Job => ({
  ...Job.fromPartial({ jobId: `j${n}`, type: "echo", status: JobStatus.JOB_STATUS_PENDING, revision: 1n }),
  ...fields,
});
const ids = ({ events }: Watching): string[] => events.map((event) => event.job?.jobId ?? "");
const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, n) => `j${from + n}`);

/** Batches of `size` jobs numbered from..to. */
async function appendAll(scheduler: FakeScheduler, from: number, to: number, size: number): Promise<void> {
  const appends: Promise<unknown>[] = [];
  for (let n = from; n < to; n += size) {
    const batch = Array.from({ length: Math.min(size, to - n) }, (_, i) => job(n + i));
    appends.push(scheduler.append(batch));
    if (appends.length === 100) await Promise.all(appends.splice(0));
  }
  await Promise.all(appends);
}

test("from now on, behind any event's cursor, and from the start: each event once and in order", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  await appendAll(scheduler, 0, 10, 3);
  const all = watch(gateway, START);
  await eventually(() => all.events.length === 10);
  await appendAll(scheduler, 10, 12, 1);
  await eventually(() => all.events.length === 12);
  assert.deepEqual(ids(all), numbered(0, 12));
  for (const [n, { cursor, event, at }] of all.events.entries()) {
    assert.equal(event, "job.changed");
    assert.ok(at);
    if (n % 3 !== 1) continue;
    const rest = watch(gateway, cursor);
    await eventually(() => rest.events.length === 11 - n);
    assert.deepEqual(ids(rest), numbered(n + 1, 12));
    rest.stop();
  }
  const last = all.events.at(-1)?.cursor;
  const fresh = watch(gateway, last);
  const now = watch(gateway);
  await appendAll(scheduler, 12, 13, 1);
  await eventually(() => fresh.events.length === 1 && all.events.length === 13);
  // What "now" is only the gateway knows; that nothing old comes is certain.
  await eventually(async () => {
    await scheduler.append([job(99)]);
    return ids(now).includes("j99");
  });
  assert.ok(ids(now).every((id) => id === "j12" || id === "j99"));
});

test("only what the filter wants; records that were appended again are no events; a deletion is one", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  const failed = watch(gateway, START, { statuses: [JobStatus.JOB_STATUS_FAILED], types: ["echo"] });
  const labelled = watch(gateway, START, { labels: { team: "a" } });
  const all = watch(gateway, START);
  await scheduler.append([job(1), job(2, { status: JobStatus.JOB_STATUS_FAILED, labels: { team: "a" } })]);
  await scheduler.append([job(3, { status: JobStatus.JOB_STATUS_FAILED, type: "batch_import" })]);
  await scheduler.appendRecords([
    { jobId: "j2", revision: 1n, event: "" },
    { jobId: "j2", revision: 2n, event: "job.deleted", deletedJob: job(2, { labels: { team: "a" } }) },
  ]);
  await eventually(() => all.events.length === 4 && labelled.events.length === 2);
  assert.deepEqual(ids(failed), ["j2"]);
  assert.deepEqual(
    labelled.events.map(({ event }) => event),
    ["job.changed", "job.deleted"],
  );
  assert.deepEqual(ids(all), ["j1", "j2", "j3", "j2"]);
});

test("a library is watched by its name", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, index } = gateway;
  const libraryId = "0190-library";
  index.add(libraryId, "notes", "hashing", 8);
  const named = watch(gateway, START, { libraryId: "notes" });
  await scheduler.append([job(1, { libraryId: "notes" }), job(2, { libraryId })]);
  await eventually(() => named.events.length === 1);
  assert.deepEqual(ids(named), ["j2"]);
});

test("cursors that are malformed, ahead or expired", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, nats } = gateway;
  await appendAll(scheduler, 0, 10, 1);
  for (const cursor of ["nonsense", "x".repeat(5_000), formatCursor(11), formatCursor(10 ** 14, 3)]) {
    const error = toArrwError(await watch(gateway, cursor).ended);
    assert.equal(error.code, "INVALID_ARGUMENT");
    assert.deepEqual(
      error.violations.map(({ field }) => field),
      ["after_cursor"],
    );
  }
  const unknown = { statuses: [99 as JobStatus] };
  const both = toArrwError(await watch(gateway, "nonsense", unknown).ended);
  assert.equal(both.violations.length, 2);
  await nats.purge(Stream.journal, { below: 6 });
  const expired = toArrwError(await watch(gateway, formatCursor(3, 0)).ended);
  assert.deepEqual([expired.code, expired.reason], ["OUT_OF_RANGE", "CURSOR_EXPIRED"]);
  const oldest = watch(gateway, expired.metadata.oldest);
  await eventually(() => oldest.events.length === 5);
  assert.deepEqual(ids(oldest), numbered(5, 10));
});

test("a client that does not read loses nothing, and memory is bounded meanwhile", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, jobs, probes } = gateway;
  const count = 40_000;
  const quick = watch(gateway, START);
  const slow = jobs.watchJobs(WatchJobsRequest.fromPartial({ afterCursor: START }));
  t.after(() => slow.cancel());
  slow.on("error", () => undefined);
  await appendAll(scheduler, 0, 200, 100);
  // One message only, then it stands still.
  await once(slow, "readable");
  assert.ok(slow.read());
  await appendAll(scheduler, 200, count, 200);
  await eventually(() => quick.events.length === count, { timeoutMs: 30_000 });
  const metrics = await (await fetch(`${probes}/metrics`)).text();
  assert.match(metrics, /^arrw_watch_jobs_overflows_total\{[^}]*\} [1-9]/m);
  assert.match(metrics, /^arrw_watch_jobs_behind\{[^}]*\} 1$/m);
  const got: string[] = [];
  for await (const event of slow as AsyncIterable<WatchJobsResponse>) {
    got.push(event.job?.jobId ?? "");
    if (got.length === count - 1) break;
  }
  assert.deepEqual(got, numbered(1, count));
  assert.deepEqual(ids(quick), numbered(0, count));
});

test("many that start far behind catch up while the journal grows", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  await appendAll(scheduler, 0, 2_000, 1);
  const watching = Array.from({ length: 30 }, () => watch(gateway, START));
  await appendAll(scheduler, 2_000, 4_000, 1);
  const behind = watch(gateway, formatCursor(1_000));
  await eventually(() => [...watching, behind].every(({ events }) => events.at(-1)?.job?.jobId === "j3999"), {
    timeoutMs: 30_000,
  });
  for (const each of watching) assert.deepEqual(ids(each), numbered(0, 4_000));
  assert.deepEqual(ids(behind), numbered(1_000, 4_000));
});

test("what a slow client is behind on is removed: OUT_OF_RANGE, not a gap", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, jobs, nats } = gateway;
  const slow = jobs.watchJobs(WatchJobsRequest.fromPartial({ afterCursor: START }));
  t.after(() => slow.cancel());
  slow.on("error", () => undefined);
  await appendAll(scheduler, 0, 30_000, 200);
  const { lastSequence } = await nats.streamInfo(Stream.journal);
  await nats.purge(Stream.journal, { below: lastSequence });
  const got: string[] = [];
  const read = async (): Promise<void> => {
    for await (const { job } of slow as AsyncIterable<WatchJobsResponse>) got.push(job?.jobId ?? "");
  };
  await assert.rejects(read(), (error: { code: number }) => error.code === 11);
  assert.deepEqual(got, numbered(0, got.length));
  assert.ok(got.length < 30_000);
});

test("NATS restarts, the gateway restarts: a watch goes on behind its last event", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, natsServer, index } = gateway;
  await appendAll(scheduler, 0, 5, 1);
  const first = watch(gateway, START);
  await eventually(() => first.events.length === 5);
  await natsServer.kill();
  await natsServer.restart();
  await eventually(() => appendAll(scheduler, 5, 6, 1).then(() => true), { timeoutMs: 20_000 });
  await eventually(() => first.events.length >= 6, { timeoutMs: 20_000 });
  await gateway.stop();
  assert.equal(toArrwError(await first.ended).code, "UNAVAILABLE");
  await appendAll(scheduler, 6, 8, 1);
  const again = await startGateway(t, {
    natsUrl: natsServer.url,
    schedulers: [scheduler.address],
    index: index.address,
  });
  const second = watch(again, first.events.at(-1)?.cursor);
  await eventually(() => second.events.length === 2, { timeoutMs: 20_000 });
  // An append whose acknowledgement was lost may be there twice.
  assert.deepEqual([...new Set([...ids(first), ...ids(second)])], numbered(0, 8));
  second.stop();
});

test("a journal that ends before what it held ends the watch", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, natsServer, nats } = gateway;
  await appendAll(scheduler, 0, 20, 1);
  const watching = watch(gateway, START);
  await eventually(() => watching.events.length === 20);
  // Another server without what this one had.
  await natsServer.kill();
  await rm(join(natsServer.storeDir, "jetstream"), { recursive: true });
  await natsServer.restart();
  await eventually(() => nats.unready() === undefined, { timeoutMs: 20_000 });
  const bytes = 64 * 1024 * 1024;
  await ensureStreams(nats, { journalMaxBytes: bytes, objectsMaxBytes: bytes, replicas: 1 });
  assert.equal(toArrwError(await watching.ended).code, "UNAVAILABLE");
});

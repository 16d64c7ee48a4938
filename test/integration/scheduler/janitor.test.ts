import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../../platform/clock.ts";
import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { Stream, Subject } from "../../../platform/nats/names.ts";
import { ensureStreams } from "../../../platform/nats/streams.ts";
import { Janitor } from "../../../services/scheduler/janitor.ts";
import { startTestNats } from "../../support/nats.ts";
import type { Cleanup } from "../../support/temp.ts";

async function start(t: Cleanup, logged: readonly string[]) {
  const server = await startTestNats();
  const nats = new Nats({ url: server.url, name: "test", log: silentLog() });
  t.after(async () => {
    await nats.stop();
    await server.stop();
  });
  await nats.start();
  await ensureStreams(nats, { journalMaxBytes: 2 ** 24, objectsMaxBytes: 2 ** 24, replicas: 1 });
  const append = (jobId: string): Promise<number> =>
    nats.append(Subject.jobLog(jobId), Buffer.from("x"), { timeoutMs: 5_000 });
  await Promise.all([...logged, ...logged].map(append));
  const jobs = new Set(logged);
  const calls: string[] = [];
  const janitor = new Janitor({
    nats: {
      getMessage: (stream, query) => nats.getMessage(stream, query),
      streamSubjects: (stream, filter) => {
        calls.push(`look at ${filter}`);
        return nats.streamSubjects(stream, filter);
      },
      purge: (stream, which) => {
        calls.push("purge");
        return nats.purge(stream, which);
      },
    },
    clock: systemClock,
    objects: { remove: async () => undefined },
    log: silentLog(),
    isJob: (jobId) => jobs.has(jobId),
    exportIsOver: () => false,
    maySend: () => true,
  });
  const left = async (): Promise<string[]> =>
    Object.keys(await nats.streamSubjects(Stream.logs, Subject.jobLogs)).sort();
  const remove = (jobId: string): void => {
    jobs.delete(jobId);
    janitor.deleted(jobId);
  };
  return { janitor, calls, left, remove, nats, jobs, append };
}

test("the log of a deleted job is purged, those of others stay", async (t) => {
  const { janitor, calls, left, remove } = await start(t, ["a", "b", "c"]);
  await janitor.sweepLogs();
  assert.deepEqual(calls, []);
  remove("b");
  await janitor.sweepLogs();
  assert.deepEqual(calls.splice(0), ["look at arrw.log.b", "purge"]);
  assert.deepEqual(await left(), ["arrw.log.a", "arrw.log.c"]);
  await janitor.sweepLogs();
  assert.deepEqual(calls, []);
});

test("thousands of deleted jobs without logs cost one look", async (t) => {
  const { janitor, calls, left, remove } = await start(t, ["a", "b", "c"]);
  for (let n = 0; n < 5_000; n++) remove(`job-${n}`);
  remove("a");
  await janitor.sweepLogs();
  assert.deepEqual(calls, ["look at arrw.log.>", "purge"]);
  assert.deepEqual(await left(), ["arrw.log.b", "arrw.log.c"]);
});

test("after more deletions than are remembered all logs are looked at", async (t) => {
  const { janitor, left, remove, jobs } = await start(t, ["a", "b", "c"]);
  remove("a");
  for (let n = 0; n < 100_000; n++) janitor.deleted(`job-${n}`);
  jobs.delete("c");
  await janitor.sweepLogs();
  assert.deepEqual(await left(), ["arrw.log.b"]);
});

test("a sweep that failed is repeated; a job that is there again keeps its log", async (t) => {
  const { janitor, left, remove, nats, jobs } = await start(t, ["a", "b"]);
  remove("a");
  janitor.deleted("b");
  const { purge } = nats;
  nats.purge = async () => {
    throw new Error("away");
  };
  await assert.rejects(janitor.sweepLogs(), /away/);
  nats.purge = purge;
  await janitor.sweepLogs();
  assert.deepEqual(await left(), ["arrw.log.b"]);
  assert.ok(jobs.has("b"));
});

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { KeyFile } from "../../support/credentials.ts";
import { eventually } from "../../support/eventually.ts";
import { startGateway, startTestGateway, type TestGateway } from "../../support/gateway.ts";
import { startIndexProcess } from "../../support/index-process.ts";
import { documentUpsert, libraryRequest, seededVector, TestLibrary } from "../../support/index-service.ts";
import { SseStream } from "../../support/sse.ts";
import { type Cleanup, tempDir } from "../../support/temp.ts";

const {
  JOB_STATUS_PENDING: PENDING,
  JOB_STATUS_RUNNING: RUNNING,
  JOB_STATUS_COMPLETED: COMPLETED,
} = JobStatus;
const DIMENSIONS = 4;

/** One gateway, with an index of its own, for all of these; heartbeats come three times a second. */
let gateway: TestGateway;
let keys: KeyFile;
let library: TestLibrary;
const stops: (() => Promise<void> | void)[] = [];
const all: Cleanup = { after: (run) => void stops.push(run) };

before(async () => {
  const folder = await tempDir(all);
  keys = new KeyFile(folder);
  await keys.add("viewer", { role: "viewer" });
  const index = await startIndexProcess(await tempDir(all), { ARRW_LOG_LEVEL: "warn" });
  all.after(async () => void (await index.kill("SIGKILL")));
  library = await TestLibrary.create(index.client, libraryRequest("docs", DIMENSIONS));
  gateway = await startTestGateway(all, [], {
    ARRW_INDEX_ADDRESS: index.address,
    ARRW_HTTP_IDLE_TIMEOUT_MS: "1000",
  });
});

after(async () => {
  for (const stop of stops.reverse()) await stop();
});

const statuses = ({ named }: SseStream) => named.map(({ data }) => data.status);

test("a job: as it is, then every change, then the end; who comes again with the last id is sent away", async (t) => {
  const { scheduler, probes } = gateway;
  const jobId = uuidv7();
  const url = `${probes}/v1/jobs/${jobId}/events`;
  await scheduler.move(jobId, { status: PENDING });
  const stream = await SseStream.open(t, url);
  assert.equal(stream.status, 200);
  assert.equal(stream.headers.get("cache-control"), "no-store");
  assert.equal(stream.headers.get("x-accel-buffering"), "no");
  await stream.count(1);
  await scheduler.move(jobId, { status: RUNNING });
  await stream.count(2);
  const resumed = await SseStream.open(t, url, { "last-event-id": "1" });
  const byParameter = await SseStream.open(t, `${url}?after_revision=2`);
  await scheduler.move(jobId, { status: COMPLETED });
  await Promise.all([stream.end(), resumed.end(), byParameter.end()]);
  assert.deepEqual(statuses(stream), ["pending", "running", "completed"]);
  assert.deepEqual(statuses(resumed), ["running", "completed"]);
  assert.deepEqual(statuses(byParameter), ["completed"]);
  assert.deepEqual(
    stream.events.map(({ id, event }) => [id, event]),
    [
      ["1", "job"],
      ["2", "job"],
      ["3", "job"],
      [undefined, "end"],
    ],
  );
  const shown = await (await fetch(`${probes}/v1/jobs/${jobId}`)).json();
  const { stale_sequence: _, ...job } = shown as Record<string, unknown>;
  assert.deepEqual(stream.named.at(-1)?.data, job);
  assert.equal((await SseStream.open(t, url, { "last-event-id": "3" })).status, 204);
  const ended = await SseStream.open(t, url);
  await ended.end();
  assert.deepEqual(statuses(ended), ["completed"]);
});

test("what is refused has a status; what fails later an event", async (t) => {
  const { scheduler, probes } = gateway;
  for (const [path, headers, status, code] of [
    [`/v1/jobs/${uuidv7()}/events`, {}, 404, "NOT_FOUND"],
    [`/v1/jobs/${uuidv7()}/events?after_revision=x`, {}, 400, "INVALID_ARGUMENT"],
    [`/v1/jobs/${uuidv7()}/events`, { "last-event-id": "-1" }, 400, "INVALID_ARGUMENT"],
    ["/v1/events?status=nothing", {}, 400, "INVALID_ARGUMENT"],
    ["/v1/events?after_cursor=nonsense", {}, 400, "INVALID_ARGUMENT"],
    ["/v1/libraries/nowhere/events", {}, 404, "NOT_FOUND"],
  ] as const) {
    const stream = await SseStream.open(t, probes + path, headers);
    await stream.end();
    assert.equal(stream.status, status, path);
    assert.equal(JSON.parse(stream.text).error.code, code, path);
  }
  const jobId = uuidv7();
  await scheduler.move(jobId, { status: PENDING });
  const stream = await SseStream.open(t, `${probes}/v1/jobs/${jobId}/events`);
  await stream.count(1);
  await scheduler.appendDeletion(jobId);
  await stream.end();
  const { event, data } = stream.events.at(-1) ?? {};
  assert.equal(event, "error");
  assert.equal(data.error.reason, "JOB_NOT_FOUND");
});

test("all jobs: the position first, then what the filter passes", async (t) => {
  const { scheduler, probes } = gateway;
  const [mine, other] = [uuidv7(), uuidv7()];
  const stream = await SseStream.open(t, `${probes}/v1/events?type=batch_export&status=pending,running`);
  await eventually(() => stream.lastId !== "");
  assert.equal(stream.named.length, 0);
  await scheduler.move(other, { status: PENDING });
  await scheduler.move(mine, { status: PENDING, type: "batch_export" });
  await scheduler.move(mine, { status: RUNNING });
  await scheduler.move(mine, { status: COMPLETED });
  await stream.count(2);
  assert.deepEqual(
    stream.named.map(({ event, data }) => [event, data.job.job_id, data.job.status]),
    [
      ["job.changed", mine, "pending"],
      ["job.changed", mine, "running"],
    ],
  );
  assert.ok(stream.named.every(({ id, data }) => id === data.cursor));
});

test("a heartbeat while nothing happens, within the idle time", async (t) => {
  const stream = await SseStream.open(t, `${gateway.probes}/v1/events`);
  await eventually(() => stream.comments >= 5, { what: "5 heartbeats" });
  assert.equal(stream.ended, false);
});

test("a library: documents as they change, and from where a client was", async (t) => {
  const url = `${gateway.probes}/v1/libraries/docs/events`;
  const stream = await SseStream.open(t, url);
  await eventually(() => stream.lastId !== "");
  const from = stream.lastId;
  await library.upsert([documentUpsert("a", [seededVector(1, DIMENSIONS)])]);
  await library.delete(["a"]);
  await stream.count(2);
  const told = ({ named }: SseStream) => named.map(({ event, data }) => [event, data.document_id]);
  const expected = [
    ["document.upserted", "a"],
    ["document.deleted", "a"],
  ];
  assert.deepEqual(told(stream), expected);
  const again = await SseStream.open(t, url, { "last-event-id": from });
  await again.count(2);
  assert.deepEqual(told(again), expected);
});

test("a gateway stops: its streams say so at once, and another goes on behind the last id", async (t) => {
  const { scheduler, natsServer } = gateway;
  const options = { natsUrl: natsServer.url, schedulers: [scheduler.address] };
  const first = await startGateway(t, options);
  const jobId = uuidv7();
  await scheduler.move(jobId, { status: PENDING });
  const events = await SseStream.open(t, `${first.probes}/v1/events`);
  const job = await SseStream.open(t, `${first.probes}/v1/jobs/${jobId}/events`);
  await eventually(() => events.lastId !== "");
  await job.count(1);
  const startedAt = performance.now();
  await first.stop();
  assert.ok(performance.now() - startedAt < 1_500);
  await Promise.all([events.end(), job.end()]);
  for (const stream of [events, job]) {
    assert.equal(stream.events.at(-1)?.event, "error");
    assert.equal(stream.events.at(-1)?.data.error.code, "UNAVAILABLE");
  }
  await scheduler.move(jobId, { status: RUNNING });
  const second = await startGateway(t, options);
  const eventsAgain = await SseStream.open(t, `${second.probes}/v1/events`, {
    "last-event-id": events.lastId,
  });
  const jobAgain = await SseStream.open(t, `${second.probes}/v1/jobs/${jobId}/events`, {
    "last-event-id": job.lastId,
  });
  await scheduler.move(jobId, { status: COMPLETED });
  await jobAgain.end();
  await eventsAgain.count(2);
  assert.deepEqual(statuses(jobAgain).at(-1), "completed");
  assert.deepEqual(
    eventsAgain.named.map(({ data }) => [data.job.job_id, data.job.status]),
    [
      [jobId, "running"],
      [jobId, "completed"],
    ],
  );
});

test("a browser's token is in the URL, for streams of events alone", async (t) => {
  const { scheduler, natsServer } = gateway;
  const guarded = await startGateway(t, {
    natsUrl: natsServer.url,
    schedulers: [scheduler.address],
    env: { ARRW_API_KEYS_FILE: keys.path },
  });
  const jobId = uuidv7();
  await scheduler.move(jobId, { status: COMPLETED });
  const key = keys.key("viewer");
  const status = async (path: string, headers = {}) =>
    (await SseStream.open(t, guarded.probes + path, headers)).status;
  assert.equal(await status(`/v1/jobs/${jobId}/events`), 401);
  assert.equal(await status(`/v1/jobs/${jobId}/events?access_token=wrong`), 401);
  assert.equal(await status(`/v1/jobs/${jobId}/events?access_token=${key}`), 200);
  assert.equal(await status(`/v1/jobs/${jobId}/logs?follow=true&access_token=${key}`), 200);
  // Elsewhere it is a parameter that there isn't.
  assert.equal(await status(`/v1/jobs/${jobId}?access_token=${key}`), 400);
  const wrong = { authorization: "Bearer wrong" };
  assert.equal(await status(`/v1/jobs/${jobId}/events?access_token=${key}`, wrong), 401);
});

test("HEAD is refused rather than read to the end of a stream", async () => {
  const response = await fetch(`${gateway.probes}/v1/events`, { method: "HEAD" });
  assert.equal(response.status, 405);
  assert.equal(response.headers.get("allow"), "GET");
});

test("logs: a list, lines as NDJSON or as events, up to the job's end", async (t) => {
  const { scheduler, probes } = gateway;
  const jobId = uuidv7();
  const url = `${probes}/v1/jobs/${jobId}/logs`;
  assert.equal((await fetch(url)).status, 404);
  await scheduler.move(jobId, { status: RUNNING });
  assert.deepEqual(await (await fetch(url)).json(), { lines: [] });
  const following = await fetch(`${url}?follow=true`);
  assert.equal(following.headers.get("content-type"), "application/x-ndjson; charset=utf-8");
  const sse = await SseStream.open(t, `${url}?follow=true`, { accept: "text/event-stream" });
  await scheduler.move(jobId, { status: COMPLETED });
  assert.equal(await following.text(), "");
  await sse.end();
  assert.deepEqual(
    sse.events.map(({ event }) => event),
    ["end"],
  );
});

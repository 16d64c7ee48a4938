import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { v7 as uuidv7 } from "uuid";
import { ObjectId } from "../../../platform/nats/names.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { JobAttempt, JobResult, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import { SseStream } from "../../support/sse.ts";
import type { Cleanup } from "../../support/temp.ts";

const {
  JOB_STATUS_PENDING: PENDING,
  JOB_STATUS_RUNNING: RUNNING,
  JOB_STATUS_COMPLETED: COMPLETED,
} = JobStatus;
const IDLE_MS = 1_000;

/** One gateway for all of these. */
let gateway: TestGateway;
const stops: (() => Promise<void> | void)[] = [];
const all: Cleanup = { after: (run) => void stops.push(run) };

before(async () => {
  gateway = await startTestGateway(all, [], { ARRW_HTTP_IDLE_TIMEOUT_MS: String(IDLE_MS) });
});

after(async () => {
  for (const stop of stops.reverse()) await stop();
});

interface Raw {
  readonly socket: Socket;
  readonly closed: Promise<unknown>;
}

async function raw(t: Cleanup): Promise<Raw> {
  const socket = connect({ port: Number(new URL(gateway.probes).port), host: "127.0.0.1" });
  socket.on("error", () => undefined);
  t.after(() => void socket.destroy());
  const closed = new Promise((resolve) => socket.on("close", resolve));
  await once(socket, "connect");
  return { socket, closed };
}

/** Sends the request and reads no byte of the answer. */
async function unread(t: Cleanup, path: string, headers = ""): Promise<Raw> {
  const opened = await raw(t);
  opened.socket.pause();
  opened.socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`);
  return opened;
}

/** Of the first line that begins so. */
async function metric(start: string): Promise<number> {
  const text = await (await fetch(`${gateway.probes}/metrics`)).text();
  const line = text.split("\n").find((each) => each.startsWith(start));
  return Number(line?.split(" ").at(-1) ?? Number.NaN);
}

const watching = (): Promise<number> => metric("arrw_watch_streams{");

async function alive(jobId: string): Promise<void> {
  assert.equal((await fetch(`${gateway.probes}/v1/jobs/${jobId}`)).status, 200);
}

/** A transition of which each message is large. */
const large = (workerId: string) => ({ status: RUNNING, workerId, waitingFor: "x".repeat(500_000) });

test("a watcher that stops reading gets no more in memory, is given up, and disturbs nobody", async (t) => {
  const { scheduler } = gateway;
  const jobId = uuidv7();
  await scheduler.move(jobId, { status: PENDING });
  await unread(t, `/v1/jobs/${jobId}/events`);
  const reader = await SseStream.open(t, `${gateway.probes}/v1/jobs/${jobId}/events`);
  await eventually(async () => (await watching()) === 2);
  for (let i = 0; i < 30; i++) await scheduler.move(jobId, large(String(i)));
  await reader.count(31);
  // Given up for not reading, before the job has ended.
  await eventually(async () => (await watching()) === 1, { timeoutMs: 5 * IDLE_MS });
  await scheduler.move(jobId, { status: COMPLETED, waitingFor: "" });
  await reader.end();
  assert.deepEqual(
    reader.named.map(({ id }) => Number(id)),
    Array.from({ length: 32 }, (_, i) => i + 1),
  );
});

test("a watcher that reads slowly gets every transition", async (t) => {
  const { scheduler } = gateway;
  const jobId = uuidv7();
  await scheduler.move(jobId, { status: PENDING });
  const { socket } = await unread(t, `/v1/jobs/${jobId}/events`);
  await eventually(async () => (await watching()) === 1);
  for (let i = 0; i < 30; i++) await scheduler.move(jobId, large(String(i)));
  await scheduler.move(jobId, { status: COMPLETED, waitingFor: "" });
  let text = "";
  // A little at a time, with pauses that are shorter than what is given up.
  while (!text.includes("event: end")) {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) await Promise.race([once(socket, "readable"), delay(50)]);
    else text += chunk.toString();
    await delay(5);
  }
  const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
  assert.deepEqual(
    ids,
    Array.from({ length: 32 }, (_, i) => i + 1),
  );
});

test("a WebSocket that stops reading is given up", async (t) => {
  const { scheduler } = gateway;
  const jobId = uuidv7();
  await scheduler.move(jobId, { status: PENDING });
  const key =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
  await unread(t, `/v1/jobs/${jobId}/events`, key);
  await eventually(async () => (await watching()) === 1);
  for (let i = 0; i < 30; i++) await scheduler.move(jobId, large(String(i)));
  await eventually(async () => (await watching()) === 0, { timeoutMs: 5 * IDLE_MS });
});

test("a download that nobody reads is given up", async (t) => {
  const { scheduler, nats } = gateway;
  const jobId = uuidv7();
  const objects = new JetStreamObjects(nats);
  const writer = await objects.writer({ objectId: ObjectId.export(jobId), writer: "1" });
  for (let i = 0; i < 30; i++) await writer.write(Buffer.alloc(1_000_000, i));
  await writer.finish();
  const value = { format: "json", sha256: "aa", fileSizeBytes: 30_000_000n };
  await scheduler.move(jobId, {
    type: "batch_export",
    status: COMPLETED,
    result: JobResult.fromPartial({ result: { $case: "batchExport", value } }),
    attempts: [JobAttempt.fromPartial({ attempt: 1, lease: 1n, outcome: "completed" })],
  });
  const { socket, closed } = await unread(t, `/v1/jobs/${jobId}/export`);
  // Who does not read sees nothing of it: the time has to pass.
  await delay(4 * IDLE_MS);
  // What the connection's buffers held is all there is to read.
  let bytes = 0;
  socket.on("data", (chunk) => {
    bytes += chunk.length;
  });
  socket.resume();
  await closed;
  assert.ok(bytes > 0 && bytes < 30_000_000, `${bytes} bytes`);
});

test("plain answers that nobody reads are given up", async (t) => {
  const jobId = uuidv7();
  await gateway.scheduler.move(jobId, large("w"));
  const { socket, closed } = await raw(t);
  socket.pause();
  socket.write(`GET /v1/jobs/${jobId} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(60));
  // As above.
  await delay(4 * IDLE_MS);
  let bytes = 0;
  socket.on("data", (chunk) => {
    bytes += chunk.length;
  });
  socket.resume();
  await closed;
  assert.ok(bytes > 0 && bytes < 60 * 500_000, `${bytes} bytes`);
});

test("what is no HTTP behind a request is not answered into the stream that runs", async (t) => {
  const jobId = uuidv7();
  await gateway.scheduler.move(jobId, { status: RUNNING });
  const { socket, closed } = await raw(t);
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk;
  });
  socket.write(`GET /v1/jobs/${jobId}/events HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await eventually(() => text.includes("event: job"));
  socket.write("no HTTP\r\n\r\n");
  await closed;
  assert.equal(text.match(/HTTP\/1\.1 /g)?.length, 1);
});

test("headers byte by byte end within their time, whoever else waits", { timeout: 30_000 }, async (t) => {
  const jobId = uuidv7();
  await gateway.scheduler.move(jobId, { status: PENDING });
  const slow = await Promise.all(Array.from({ length: 200 }, () => raw(t)));
  const startedAt = performance.now();
  const text = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
  let at = 0;
  const drip = setInterval(() => {
    const next = text[at] ?? "x";
    at += 1;
    for (const { socket } of slow) if (socket.writable) socket.write(next);
  }, 100);
  t.after(() => clearInterval(drip));
  await alive(jobId);
  // The answer to that is read, so that the end is seen.
  for (const { socket } of slow) socket.resume();
  await Promise.all(slow.map(({ closed }) => closed));
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs > 5_000 && tookMs < 15_000, `${tookMs} ms`);
  await alive(jobId);
});

test("a thousand connections that say nothing leave the others alone", async (t) => {
  const jobId = uuidv7();
  await gateway.scheduler.move(jobId, { status: PENDING });
  const silent = await Promise.all(Array.from({ length: 1_000 }, () => raw(t)));
  const startedAt = performance.now();
  await alive(jobId);
  assert.ok(performance.now() - startedAt < 1_000);
  for (const { socket } of silent) socket.destroy();
});

test("an upload that trickles in is one line in memory, and given up when it stops", async (t) => {
  const { socket, closed } = await raw(t);
  socket.resume();
  const head = "POST /v1/libraries/docs/documents/stream HTTP/1.1\r\nHost: localhost\r\n";
  gateway.index.add("docs-id", "docs", "hashing", 8);
  socket.write(`${head}Content-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n{"texts":["`);
  for (let i = 0; i < 5; i++) {
    await delay(IDLE_MS / 4);
    assert.ok(socket.writable);
    socket.write("x");
  }
  const stoppedAt = performance.now();
  await closed;
  assert.ok(performance.now() - stoppedAt < 6 * IDLE_MS);
  assert.equal(gateway.scheduler.submissions.length, 0);
});

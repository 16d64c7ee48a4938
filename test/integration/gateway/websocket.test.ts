import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { after, before, test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { WebSocket } from "ws";
import { JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { startGateway, startTestGateway, type TestGateway } from "../../support/gateway.ts";
import type { Cleanup } from "../../support/temp.ts";

const { JOB_STATUS_PENDING: PENDING, JOB_STATUS_COMPLETED: COMPLETED } = JobStatus;

/** One gateway for all of these; it pings three times a second. */
let gateway: TestGateway;
const stops: (() => Promise<void> | void)[] = [];
const all: Cleanup = { after: (run) => void stops.push(run) };

before(async () => {
  gateway = await startTestGateway(all, [], { ARRW_HTTP_IDLE_TIMEOUT_MS: "1000" });
});

after(async () => {
  for (const stop of stops.reverse()) await stop();
});

interface Socket {
  readonly socket: WebSocket;
  // biome-ignore lint/suspicious/noExplicitAny: tests know what they are
  readonly messages: any[];
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
}

function open(t: Cleanup, path: string, { probes = gateway.probes, autoPong = true } = {}): Socket {
  const socket = new WebSocket(probes.replace("http", "ws") + path, { autoPong });
  const messages: unknown[] = [];
  socket.on("message", (data) => messages.push(JSON.parse(String(data))));
  socket.on("error", () => undefined);
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on("close", (code, reason) => resolve({ code, reason: String(reason) }));
  });
  t.after(() => socket.terminate());
  return { socket, messages, closed };
}

async function pendingJob(): Promise<string> {
  const jobId = uuidv7();
  await gateway.scheduler.move(jobId, { status: PENDING });
  return jobId;
}

test("a job: each change a message, then the end and code 1000", async (t) => {
  const jobId = await pendingJob();
  const { messages, closed } = open(t, `/v1/jobs/${jobId}/events`);
  await eventually(() => messages.length === 1);
  await gateway.scheduler.move(jobId, { status: COMPLETED });
  assert.equal((await closed).code, 1000);
  assert.deepEqual(
    messages.map(({ id, event, data }) => [id, event, data.status]),
    [
      ["1", "job", "pending"],
      ["2", "job", "completed"],
      [undefined, "end", undefined],
    ],
  );
  const again = open(t, `/v1/jobs/${jobId}/events?after_revision=1`);
  await again.closed;
  assert.deepEqual(
    again.messages.map(({ id }) => id),
    ["2", undefined],
  );
});

test("all jobs: the position first, and from there on again", async (t) => {
  const { messages } = open(t, "/v1/events?type=batch_delete");
  await eventually(() => messages.length === 1);
  assert.equal(messages[0].event, "open");
  const jobId = uuidv7();
  await gateway.scheduler.move(jobId, { status: PENDING, type: "batch_delete" });
  await eventually(() => messages.length === 2);
  assert.equal(messages[1].data.job.job_id, jobId);
  const again = open(t, `/v1/events?type=batch_delete&after_cursor=${messages[0].id}`);
  await eventually(() => again.messages.length === 1);
  assert.deepEqual(again.messages[0], messages[1]);
});

test("an error is the last message, and its code says what it is", async (t) => {
  for (const [path, code, reason] of [
    [`/v1/jobs/${uuidv7()}/events`, 4404, "JOB_NOT_FOUND"],
    ["/v1/events?status=nothing", 4400, "INVALID_ARGUMENT"],
    ["/v1/events?after_cursor=nonsense", 4400, "INVALID_ARGUMENT"],
  ] as const) {
    const { messages, closed } = open(t, path);
    assert.deepEqual(await closed, { code, reason }, path);
    assert.deepEqual(
      [messages.length, messages[0].event, messages[0].data.error.reason],
      [1, "error", reason],
    );
  }
});

test("a gateway that stops says: try again later", async (t) => {
  const { natsServer, scheduler } = gateway;
  const second = await startGateway(t, { natsUrl: natsServer.url, schedulers: [scheduler.address] });
  const { messages, closed } = open(t, `/v1/jobs/${await pendingJob()}/events`, { probes: second.probes });
  await eventually(() => messages.length === 1);
  const startedAt = performance.now();
  await second.stop();
  assert.ok(performance.now() - startedAt < 1_500);
  assert.equal((await closed).code, 1013);
  assert.equal(messages.at(-1)?.data.error.code, "UNAVAILABLE");
});

test("a client that doesn't answer pings is gone; one that does stays", async (t) => {
  const silent = open(t, "/v1/events", { autoPong: false });
  const answering = open(t, "/v1/events");
  const startedAt = performance.now();
  assert.equal((await silent.closed).code, 1006);
  assert.ok(performance.now() - startedAt < 3_000);
  assert.equal(answering.socket.readyState, WebSocket.OPEN);
});

test("a client that talks too much, or too long, is sent away", async (t) => {
  const large = open(t, "/v1/events");
  await once(large.socket, "open");
  large.socket.send("x".repeat(5_000));
  assert.equal((await large.closed).code, 1009);
  for (const talk of [(s: WebSocket) => s.send("x"), (s: WebSocket) => s.ping()]) {
    const { socket, closed } = open(t, "/v1/events");
    await once(socket, "open");
    for (let i = 0; i < 100; i++) talk(socket);
    assert.equal((await closed).code, 1008);
  }
  const few = open(t, "/v1/events");
  await once(few.socket, "open");
  few.socket.send("hello");
  few.socket.ping();
  await once(few.socket, "pong");
  assert.equal(few.socket.readyState, WebSocket.OPEN);
});

test("no WebSocket at other paths", async (t) => {
  const jobId = await pendingJob();
  for (const [path, status] of [
    [`/v1/jobs/${jobId}`, 400],
    ["/v1/nothing", 404],
  ] as const) {
    const { socket, closed } = open(t, path);
    const [, response] = await once(socket, "unexpected-response");
    assert.equal(response.statusCode, status);
    socket.terminate();
    await closed;
  }
});

test("who asks for HTTP/2 by the way is answered in HTTP/1.1", async () => {
  const jobId = await pendingJob();
  const headers = { connection: "Upgrade, HTTP2-Settings", upgrade: "h2c", "http2-settings": "AAMAAABk" };
  const body = JSON.stringify({ reason: "test" });
  const json = { ...headers, "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  for (const [method, path, sent] of [
    ["GET", `/v1/jobs/${jobId}`, undefined],
    ["POST", "/v1/jobs/cancel", body],
  ] as const) {
    const asked = request(gateway.probes + path, { method, headers: sent ? json : headers });
    asked.end(sent);
    const [response] = await once(asked, "response");
    response.resume();
    assert.equal(response.httpVersion, "1.1");
    assert.ok(response.statusCode !== 101 && response.statusCode < 500, String(response.statusCode));
    await once(response, "end");
  }
});

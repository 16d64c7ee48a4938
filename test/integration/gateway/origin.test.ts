import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { after, before, test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { WebSocket } from "ws";
import { JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { KeyFile } from "../../support/credentials.ts";
import { startGateway, startTestGateway, type TestGateway } from "../../support/gateway.ts";
import { type Cleanup, tempDir } from "../../support/temp.ts";

const EVIL = "http://evil.example";
const FRIEND = "https://app.example";

/** A gateway for its own machine, and one that a page may use. */
let closed: TestGateway;
let shared: Awaited<ReturnType<typeof startGateway>>;
let keyed: Awaited<ReturnType<typeof startGateway>>;
const jobId = uuidv7();
const stops: (() => Promise<void> | void)[] = [];
const all: Cleanup = { after: (run) => void stops.push(run) };

before(async () => {
  closed = await startTestGateway(all);
  const options = { natsUrl: closed.natsServer.url, schedulers: [closed.scheduler.address] };
  shared = await startGateway(all, {
    ...options,
    env: { ARRW_HTTP_CORS_ORIGINS: `${FRIEND},http://b.example:81` },
  });
  const keys = new KeyFile(await tempDir(all));
  await keys.add("viewer", { role: "viewer" });
  keyed = await startGateway(all, { ...options, env: { ARRW_API_KEYS_FILE: keys.path } });
  await closed.scheduler.move(jobId, { status: JobStatus.JOB_STATUS_PENDING });
});

after(async () => {
  for (const stop of stops.reverse()) await stop();
});

interface Answer {
  readonly status: number | undefined;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly text: string;
}

/** As a browser would: fetch does not let one set Host and Origin. */
async function call(
  method: string,
  url: string,
  headers: Record<string, string>,
  body = "",
): Promise<Answer> {
  const asked = request(url, { method, headers });
  asked.end(body);
  const [response] = await once(asked, "response");
  let text = "";
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode, headers: response.headers, text };
}

async function upgrade(url: string, origin: string): Promise<number> {
  const socket = new WebSocket(url.replace("http", "ws"), { origin });
  socket.on("error", () => undefined);
  const opened = once(socket, "open").then(
    () => 101,
    () => 0,
  );
  const refused = new Promise<number>((resolve) => {
    socket.on("unexpected-response", (_, response) => resolve(response.statusCode ?? 0));
  });
  const status = await Promise.race([refused, opened]);
  socket.terminate();
  return status;
}

const reason = ({ text }: Answer): string => JSON.parse(text).error.reason;

test("another's page changes nothing, uploads nothing, and opens no WebSocket", async () => {
  const { probes } = closed;
  const own = new URL(probes).host;
  for (const origin of [EVIL, "null", "http://127.0.0.1:1", `http://${own}.evil.example`]) {
    for (const [method, path, type] of [
      ["DELETE", `/v1/jobs/${jobId}`, undefined],
      ["POST", "/v1/jobs/echo", "application/json"],
      ["POST", "/v1/libraries/docs/documents/stream", "application/x-ndjson"],
      ["PUT", "/v1/queues/echo/limit", "application/json"],
      ["POST", `/v1/jobs/${jobId}/retry`, undefined],
    ] as const) {
      const headers = { origin, ...(type ? { "content-type": type } : {}) };
      const answer = await call(method, probes + path, headers, type ? "{}" : "");
      assert.deepEqual([answer.status, reason(answer)], [403, "ORIGIN_NOT_ALLOWED"], `${origin} ${path}`);
      assert.equal(answer.headers["access-control-allow-origin"], undefined);
    }
    assert.equal(await upgrade(`${probes}/v1/events`, origin), 403);
  }
  assert.equal(closed.scheduler.jobs.get(jobId)?.status, JobStatus.JOB_STATUS_PENDING);
  assert.equal(closed.scheduler.submissions.length, 0);
});

test("a form, which needs no leave of anybody, can't say anything even without its origin", async () => {
  for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]) {
    for (const path of ["/v1/jobs/echo", "/v1/libraries/docs/documents/stream"]) {
      const answer = await call("POST", closed.probes + path, { "content-type": type }, '{"steps":1}');
      assert.equal(answer.status, 415, `${type} ${path}`);
    }
  }
});

test("the server's own pages, and programs, which have no origin, may do it all", async () => {
  const { probes } = closed;
  for (const headers of [{}, { origin: probes }, { origin: probes.replace("http:", "https:") }]) {
    const json = { ...headers, "content-type": "application/json" };
    assert.equal((await call("POST", `${probes}/v1/jobs/echo`, json, '{"steps":1}')).status, 202);
  }
  assert.equal(await upgrade(`${probes}/v1/events`, probes), 101);
  assert.equal((await call("GET", `${probes}/v1/jobs/${jobId}`, { origin: EVIL })).status, 200);
});

test("a name that somebody gave to this machine's address is no way in", async () => {
  const { probes } = closed;
  const { port } = new URL(probes);
  for (const host of [`evil.example:${port}`, "evil.example", "localhost.evil.example"]) {
    for (const path of [`/v1/jobs/${jobId}`, "/metrics", "/v1/events"]) {
      const answer = await call("GET", probes + path, { host });
      assert.deepEqual([answer.status, reason(answer)], [403, "HOST_NOT_ALLOWED"], host + path);
    }
  }
  for (const host of [`localhost:${port}`, "localhost", `127.0.0.1:${port}`, `[::1]:${port}`]) {
    assert.equal((await call("GET", `${probes}/v1/jobs/${jobId}`, { host })).status, 200, host);
  }
  // Credentials protect where there are any.
  assert.equal((await call("GET", `${keyed.probes}/v1/jobs/${jobId}`, { host: "jobs.example" })).status, 401);
});

test("pages of allowed origins: preflight, calls, WebSockets; others as before", async () => {
  const { probes } = shared;
  const preflight = {
    "access-control-request-method": "DELETE",
    "access-control-request-headers": "authorization, content-type",
  };
  const allowed = await call("OPTIONS", `${probes}/v1/jobs/${jobId}`, { origin: FRIEND, ...preflight });
  assert.equal(allowed.status, 204);
  assert.equal(allowed.headers["access-control-allow-origin"], FRIEND);
  assert.match(String(allowed.headers["access-control-allow-methods"]), /DELETE/);
  assert.match(String(allowed.headers["access-control-allow-headers"]), /authorization/);
  assert.equal(allowed.headers["access-control-allow-credentials"], undefined);
  const refused = await call("OPTIONS", `${probes}/v1/jobs/${jobId}`, { origin: EVIL, ...preflight });
  assert.equal(refused.headers["access-control-allow-origin"], undefined);
  const json = { origin: FRIEND, "content-type": "application/json" };
  const made = await call("POST", `${probes}/v1/jobs/echo`, json, '{"steps":1}');
  assert.deepEqual([made.status, made.headers["access-control-allow-origin"]], [202, FRIEND]);
  assert.match(String(made.headers["access-control-expose-headers"]), /location/);
  const missing = await call("GET", `${probes}/v1/jobs/${uuidv7()}`, { origin: FRIEND });
  assert.deepEqual([missing.status, missing.headers["access-control-allow-origin"]], [404, FRIEND]);
  assert.equal(await upgrade(`${probes}/v1/events`, FRIEND), 101);
  assert.equal(await upgrade(`${probes}/v1/events`, EVIL), 403);
  const evil = await call("POST", `${probes}/v1/jobs/echo`, { ...json, origin: EVIL }, '{"steps":1}');
  assert.equal(evil.status, 403);
  assert.equal((await call("GET", `${probes}/v1/nothing`, {})).status, 404);
});

test("streams of events are for allowed pages, too", async () => {
  const asked = request(`${shared.probes}/v1/events`, { headers: { origin: FRIEND } });
  asked.end();
  const [response] = await once(asked, "response");
  assert.equal(response.headers["access-control-allow-origin"], FRIEND);
  response.destroy();
});

test("an origin that is none is refused at the start", async (t) => {
  const { natsServer, scheduler } = closed;
  const options = { natsUrl: natsServer.url, schedulers: [scheduler.address] };
  const env = { ARRW_HTTP_CORS_ORIGINS: "app.example" };
  await assert.rejects(startGateway(t, { ...options, env }), /ARRW_HTTP_CORS_ORIGINS/);
});

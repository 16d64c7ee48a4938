import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import { connect as connectSocket, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { GrpcServer, type Handlers, implement } from "../../../platform/grpc/server.ts";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";
import { ErrorInfo } from "../../../proto/gen/google/rpc/error_details.ts";
import { Status } from "../../../proto/gen/google/rpc/status.ts";
import {
  HealthCheckRequest,
  HealthService,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../../proto/gen/health/v1/health.ts";
import { eventually } from "../../support/eventually.ts";

/** Clients that don't do their part, as bytes on a socket. All times are short here. */

const CHECK = "/grpc.health.v1.Health/Check";
const WATCH = "/grpc.health.v1.Health/Watch";
const LIMITS = { handshakeMs: 300, requestMs: 300, stallMs: 600, endMs: 600 };
const KEEPALIVE = { timeMs: 300, timeoutMs: 300, idleMs: 600_000 };
const OVERDUE_MS = 5_000;

interface Endless {
  sent: number;
  ended: boolean;
}

async function startServer(t: TestContext, own: Partial<Handlers<typeof HealthService>> = {}) {
  const server = new GrpcServer({
    host: "127.0.0.1",
    port: 0,
    services: [
      implement(HealthService, {
        check: async () => ({ status: Serving.SERVING }),
        list: async () => ({ statuses: {} }),
        watch: async function* () {
          yield { status: Serving.SERVING };
        },
        ...own,
      }),
    ],
    log: silentLog(),
    registry: createRegistry("test"),
    maxReceiveBytes: 100_000,
    defaultTimeoutMs: 400,
    limits: LIMITS,
    keepalive: KEEPALIVE,
  });
  await server.start();
  t.after(() => server.stop());
  return server;
}

/** A watch that sends 64 KiB again and again, and counts. */
function endless(): { readonly state: Endless; readonly handlers: Partial<Handlers<typeof HealthService>> } {
  const state = { sent: 0, ended: false };
  const piece = Buffer.alloc(65_536);
  const watch: Handlers<typeof HealthService>["watch"] = async function* (_request, { signal }) {
    try {
      while (!signal.aborted) {
        yield piece;
        state.sent += piece.length;
      }
    } finally {
      state.ended = true;
    }
  };
  return { state, handlers: { watch } };
}

function open(t: TestContext, port: number, options: Parameters<typeof connect>[1] = {}): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`, options);
  session.on("error", () => undefined);
  t.after(() => session.destroy());
  return session;
}

function request(
  session: ClientHttp2Session,
  path: string,
  headers: Record<string, string> = {},
): ClientHttp2Stream {
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: "POST",
    [constants.HTTP2_HEADER_PATH]: path,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  stream.on("error", () => undefined);
  return stream;
}

function frame(message: Uint8Array, compressed = false): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed ? 1 : 0, 0);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** [grpc-status, reason] of a call that gets no message. */
async function refusal(stream: ClientHttp2Stream): Promise<[string, string]> {
  const [headers] = await once(stream, "response");
  const details = Buffer.from(String(headers["grpc-status-details-bin"]), "base64");
  const info = Status.decode(details).details.find(({ typeUrl }) => typeUrl.endsWith("ErrorInfo"));
  assert.ok(info);
  return [String(headers["grpc-status"]), ErrorInfo.decode(info.value).reason];
}

async function closesInTime(socket: Socket): Promise<void> {
  socket.on("error", () => undefined).resume();
  await once(socket, "close", { signal: AbortSignal.timeout(OVERDUE_MS) });
}

test("a connection that never sends, and one that is not HTTP/2, is closed", async (t) => {
  const { port } = await startServer(t);
  const silent = connectSocket(port, "127.0.0.1");
  const confused = connectSocket(port, "127.0.0.1");
  t.after(() => [silent, confused].map((socket) => socket.destroy()));
  confused.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await Promise.all([closesInTime(silent), closesInTime(confused)]);
});

test("a request that never ends is ended: unary by its deadline, with details, a stream by the server's bound", async (t) => {
  const { port } = await startServer(t);
  const session = open(t, port);
  const unary = request(session, CHECK);
  assert.deepEqual(await refusal(unary), ["4", "DEADLINE_EXCEEDED"]);
  const stream = request(session, WATCH);
  await once(stream, "close", { signal: AbortSignal.timeout(OVERDUE_MS) });
  assert.equal(stream.rstCode, constants.NGHTTP2_CANCEL);
  // The connection is as good as before.
  const good = request(session, CHECK);
  good.end(frame(HealthCheckRequest.encode({ service: "" }).finish()));
  const [headers] = await once(good, "response");
  assert.equal(headers[":status"], 200);
});

test("a reader that stops costs bounded memory, and its call is ended", async (t) => {
  const { state, handlers } = endless();
  const { port } = await startServer(t, handlers);
  const session = open(t, port);
  const stream = request(session, WATCH);
  stream.end(frame(HealthCheckRequest.encode({ service: "" }).finish()));
  await eventually(() => state.sent > 0);
  await eventually(() => state.ended, { timeoutMs: OVERDUE_MS });
  assert.ok(state.sent <= 4 * 1024 * 1024, `${state.sent} bytes were made for it`);
  stream.resume();
  await eventually(() => stream.closed, { timeoutMs: OVERDUE_MS });
});

test("a client whose cable was pulled is let go, and its call's handler ends", async (t) => {
  let ended = false;
  const { port } = await startServer(t, {
    watch: async function* (_request, { signal }) {
      yield { status: Serving.SERVING };
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      ended = true;
    },
  });
  const cable = await startCable(t, port);
  const session = open(t, cable.port);
  const stream = request(session, WATCH);
  stream.end(frame(HealthCheckRequest.encode({ service: "" }).finish()));
  await once(stream.resume(), "data");
  cable.pull();
  await eventually(() => ended, { timeoutMs: OVERDUE_MS });
});

/** Forwards bytes, until it is pulled; nobody is told. */
async function startCable(t: TestContext, port: number) {
  const sockets: Socket[] = [];
  let pulled = false;
  const server = createServer((near) => {
    const far = connectSocket(port, "127.0.0.1");
    sockets.push(near, far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on("error", () => undefined);
      from.on("data", (bytes) => {
        if (!pulled) to.write(bytes);
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  assert.ok(address && typeof address === "object");
  const pull = (): void => {
    pulled = true;
  };
  return { port: address.port, pull };
}

test("a flood of pings ends the connection; pings between messages don't", async (t) => {
  const { handlers } = endless();
  const { port } = await startServer(t, handlers);
  const flood = open(t, port);
  await once(flood, "connect");
  let code: number | undefined;
  flood.on("goaway", (given: number) => {
    code = given;
  });
  // At most 10 are on their way at a time.
  const again = (): void => {
    if (!flood.destroyed) flood.ping(again);
  };
  again();
  await eventually(() => flood.destroyed, { timeoutMs: OVERDUE_MS });
  assert.equal(code, constants.NGHTTP2_ENHANCE_YOUR_CALM);

  const reader = open(t, port);
  const stream = request(reader, WATCH);
  stream.end(frame(HealthCheckRequest.encode({ service: "" }).finish()));
  let pings = 0;
  stream.on("data", () => {
    if (reader.destroyed || pings >= 300) return;
    reader.ping(() => {
      pings += 1;
    });
  });
  await eventually(() => pings >= 300, { timeoutMs: OVERDUE_MS });
  assert.equal(reader.destroyed, false);
});

test("compressed requests are taken within the message limit, and answers compressed for who compresses", async (t) => {
  const statuses = Object.fromEntries(
    Array.from({ length: 500 }, (_, index) => [`service-${index}`, { status: Serving.SERVING }]),
  );
  const { port } = await startServer(t, { list: async () => ({ statuses }) });
  const session = open(t, port);
  const gzip = { "grpc-encoding": "gzip", "grpc-accept-encoding": "identity,gzip" };
  const message = HealthCheckRequest.encode({ service: "x".repeat(50_000) }).finish();

  const fits = request(session, CHECK, gzip);
  fits.end(frame(gzipSync(message), true));
  assert.equal((await once(fits, "response"))[0][":status"], 200);

  const bomb = request(session, CHECK, gzip);
  bomb.end(frame(gzipSync(Buffer.alloc(50_000_000)), true));
  assert.deepEqual(await refusal(bomb), ["8", "MESSAGE_TOO_LARGE"]);

  const broken = request(session, CHECK, gzip);
  broken.end(frame(Buffer.from("not what gzip wrote"), true));
  assert.deepEqual(await refusal(broken), ["3", "MALFORMED_MESSAGE"]);

  const unknown = request(session, CHECK, { "grpc-encoding": "snappy" });
  unknown.end(frame(message, true));
  assert.deepEqual(await refusal(unknown), ["12", "UNSUPPORTED_COMPRESSION"]);

  const sizes: number[] = [];
  for (const headers of [gzip, { "grpc-accept-encoding": "identity,gzip" }]) {
    const list = request(session, "/grpc.health.v1.Health/List", headers);
    list.end(frame(Buffer.alloc(0)));
    const [answered] = await once(list, "response");
    const parts: Buffer[] = [];
    for await (const part of list) parts.push(part as Buffer);
    const bytes = Buffer.concat(parts);
    assert.equal(answered["grpc-encoding"], bytes[0] === 1 ? "gzip" : "identity");
    sizes.push(bytes.length);
  }
  const [packed = 0, plain = 0] = sizes;
  assert.ok(packed < plain / 3, `${packed} of ${plain} bytes`);
});

test("a server stops although a client neither reads nor closes its connection", async (t) => {
  const { handlers } = endless();
  const server = await startServer(t, handlers);
  const socket = connectSocket({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
  t.after(() => socket.destroy());
  socket.on("error", () => undefined);
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  await once(socket, "data");
  socket.pause();
  const startedAt = performance.now();
  await server.stop();
  assert.ok(performance.now() - startedAt < OVERDUE_MS);
});

test("a deadline of weeks has not passed already", async (t) => {
  const { port } = await startServer(t);
  const session = open(t, port);
  for (const timeout of ["99999999H", "2592000S"]) {
    const stream = request(session, CHECK, { "grpc-timeout": timeout });
    stream.end(frame(HealthCheckRequest.encode({ service: "" }).finish()));
    const [headers] = await once(stream, "response");
    assert.equal(headers["grpc-status"], undefined, timeout);
  }
});

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { WebSocket } from "ws";
import type { CallContext } from "../../../platform/grpc/server.ts";
import type { HttpDoor } from "./door.ts";
import { EventSocket } from "./event-socket.ts";
import { openStream, withAccessToken } from "./event-stream.ts";
import type { StreamOptions } from "./send-timeout.ts";
import { sendSse } from "./sse.ts";
import { lastEventId } from "./stream-query.ts";
import { type Watch, watchedJob, watchedJobs, watchedLibrary } from "./watched.ts";

/**
 * GET /v1/jobs/{job_id}/events, /v1/events and /v1/libraries/{library_id}/events: what WatchJob, WatchJobs and
 * WatchLibrary give, as SSE, or through a WebSocket where the request is to become one.
 */

/** Marks the routes at which a request may become a WebSocket. */
export const WEB_SOCKET = { webSocket: true } as const;

export function eventRoutes(app: FastifyInstance, door: HttpDoor, options: StreamOptions): void {
  const routes: Readonly<Record<string, Watch>> = {
    "/v1/jobs/:job_id/events": watchedJob(door),
    "/v1/events": watchedJobs(door),
    "/v1/libraries/:library_id/events": watchedLibrary(door),
  };
  for (const [url, watch] of Object.entries(routes)) {
    app.route({
      method: "GET",
      url,
      // An answer to HEAD would have to read the stream to its end.
      exposeHeadRoute: false,
      config: WEB_SOCKET,
      handler: (request, reply) => answerWithSse(door, request, reply, watch, options),
      wsHandler: (socket, request) => answerWithSocket(door, socket, request, watch, options),
    });
  }
}

async function answerWithSse(
  door: HttpDoor,
  request: FastifyRequest,
  reply: FastifyReply,
  watch: Watch,
  options: StreamOptions,
): Promise<FastifyReply> {
  const stream = await openStream(watch(request, contextOf(door, request)));
  // Who has seen the end, and connects again all the same, is told so: EventSource stops at this status alone.
  if (stream.empty && lastEventId(request) !== undefined) return reply.code(204).send();
  return sendSse(reply, stream, options);
}

async function answerWithSocket(
  door: HttpDoor,
  socket: WebSocket,
  request: FastifyRequest,
  watch: Watch,
  options: StreamOptions,
): Promise<void> {
  const events = new EventSocket(socket, { pingMs: options.heartbeatMs });
  await events.send(async function* () {
    const context = contextOf(door, request);
    yield* watch(request, context);
  });
}

function contextOf(door: HttpDoor, request: FastifyRequest): CallContext {
  return withAccessToken(door.contextOf(request, { unbounded: true }), request.query);
}

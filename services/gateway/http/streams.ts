import websocket from "@fastify/websocket";
import type { FastifyInstance } from "fastify";
import type { WebSocket } from "ws";
import { documentStreamRoutes } from "./document-stream.ts";
import type { HttpDoor } from "./door.ts";
import { SOCKET_OPTIONS } from "./event-socket.ts";
import { eventRoutes } from "./events.ts";
import { exportFileRoutes } from "./export-file.ts";
import { logRoutes } from "./logs.ts";
import type { StreamOptions } from "./send-timeout.ts";

export const STREAM_OPTIONS: StreamOptions = {
  sendTimeoutMs: 30_000,
  heartbeatMs: 15_000,
  uploadIdleMs: 60_000,
};

/** Everything that streams, in either direction. */
export async function streamRoutes(
  app: FastifyInstance,
  door: HttpDoor,
  options: StreamOptions = STREAM_OPTIONS,
): Promise<void> {
  await app.register(websocket, {
    options: SOCKET_OPTIONS,
    errorHandler: (_error, socket: WebSocket) => socket.terminate(),
    preClose(done) {
      // Those that were told to go have had their time.
      for (const client of app.websocketServer.clients) client.terminate();
      app.websocketServer.close(() => done());
    },
  });
  eventRoutes(app, door, options);
  exportFileRoutes(app, door, options);
  logRoutes(app, door, options);
  await documentStreamRoutes(app, door, options);
}

import websocket from "@fastify/websocket";
import type { FastifyInstance } from "fastify";
import type { WebSocket } from "ws";
import { ArrwError } from "../../../platform/errors.ts";
import { documentStreamRoutes } from "./document-stream.ts";
import type { HttpDoor } from "./door.ts";
import { SOCKET_OPTIONS } from "./event-socket.ts";
import { eventRoutes, type WEB_SOCKET } from "./events.ts";
import { exportFileRoutes } from "./export-file.ts";
import { logRoutes } from "./logs.ts";
import type { StreamOptions } from "./send-timeout.ts";
import type { UpgradableRequest } from "./upgrade.ts";

/** Everything that streams, in either direction. */
export async function streamRoutes(
  app: FastifyInstance,
  door: HttpDoor,
  options: StreamOptions,
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
  app.addHook("onRequest", async ({ ws, is404, routeOptions }) => {
    if (!ws || is404 || (routeOptions.config as Partial<typeof WEB_SOCKET>).webSocket) return;
    throw new ArrwError("INVALID_ARGUMENT", "there is no WebSocket at this path", { reason: "NO_WEBSOCKET" });
  });
  app.addHook("onResponse", async ({ raw }) => {
    // Node has let go of a connection that was to become a WebSocket: after a refusal nobody else closes it.
    if ((raw as UpgradableRequest).upgrade) raw.socket.destroySoon();
  });
  eventRoutes(app, door, options);
  exportFileRoutes(app, door);
  logRoutes(app, door, options);
  await documentStreamRoutes(app, door, options);
}

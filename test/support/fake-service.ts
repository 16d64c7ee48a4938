import { appendFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { part, runProcess } from "../../platform/lifecycle.ts";
import { createLog } from "../../platform/log.ts";

/**
 * Stands for a service in tests of the supervisor: listens on its ports (ARRW_<NAME>_*_PORT) and notes what happens,
 * `<name> started <pid>` and `<name> stopped`, in events.txt of the data folder. With FAKE_HANG=<name> in the
 * environment it never stops by itself.
 */
export async function runFakeService(name: string): Promise<void> {
  const log = createLog(name, process.env.ARRW_LOG_LEVEL ?? "info");
  const note = (text: string): void =>
    appendFileSync(join(process.env.ARRW_DATA_DIR ?? "", "events.txt"), `${name} ${text}\n`);
  const ports = Object.entries(process.env)
    .filter(([key]) => key.startsWith(`ARRW_${name.toUpperCase()}_`) && key.endsWith("_PORT"))
    .map(([, value]) => Number(value));
  const servers: Server[] = [];
  const listen = part(
    "listener",
    async () => {
      for (const port of ports) {
        const server = createServer((socket) =>
          socket.end(
            `${name} ${process.env.ARRW_NATS_URL} ${process.env.ARRW_INDEX_ADDRESS} ${process.env.ARRW_SCHEDULER_ADDRESS}`,
          ),
        );
        servers.push(server);
        await new Promise<void>((resolve, reject) => {
          server.once("error", () => reject(new Error(`port ${port} is in use`)));
          server.listen(port, "127.0.0.1", resolve);
        });
      }
      note(`started ${process.pid}`);
    },
    async () => {
      if (process.env.FAKE_HANG === name) {
        note("hangs");
        await new Promise<never>(() => setInterval(() => undefined, 60_000));
      }
      // Long enough that a stop out of order shows.
      await delay(50);
      for (const server of servers) server.close();
      note("stopped");
    },
  );
  await runProcess([listen], log);
}

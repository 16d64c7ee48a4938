/**
 * Stands for a service in tests of the supervisor: listens on its ports (ARRW_<NAME>_*_PORT, the name being what the
 * file that imports this passes), writes "<name> started" and "<name> stopped" to the journal file of the data folder.
 */
import { appendFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { part, runProcess } from "../../platform/lifecycle.ts";
import { createLog } from "../../platform/log.ts";

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
        const server = createServer((socket) => socket.end(name));
        servers.push(server);
        await new Promise<void>((resolve, reject) => {
          server.once("error", () => reject(new Error(`port ${port} is in use`)));
          server.listen(port, "127.0.0.1", resolve);
        });
      }
      note(`started nats=${process.env.ARRW_NATS_URL} index=${process.env.ARRW_INDEX_ADDRESS}`);
    },
    async () => {
      // Long enough that a stop out of order shows.
      await delay(50);
      for (const server of servers) server.close();
      note("stopped");
    },
  );
  await runProcess([listen], log);
}

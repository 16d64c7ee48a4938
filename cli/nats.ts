import { connect } from "node:net";
import { ArrwError } from "../platform/errors.ts";
import { type NatsServerOptions, startNatsServer } from "../platform/nats/launcher.ts";
import type { Running } from "./supervised.ts";

const CONNECT_TIMEOUT_MS = 3_000;

/** nats-server as a supervised process; it is ready once it is started. */
export async function launchNats(options: NatsServerOptions): Promise<Running> {
  const server = await startNatsServer(options);
  return { pid: server.pid, ready: Promise.resolve(), exited: server.exited, kill: server.kill };
}

/**
 * Looks whether one of the servers accepts connections.
 * @throws ArrwError FAILED_PRECONDITION, reason NATS_UNREACHABLE
 */
export async function checkNats(urls: string): Promise<void> {
  const servers = urls.split(",").map((each) => new URL(each.includes("://") ? each : `nats://${each}`));
  const reached = await Promise.all(servers.map((url) => reachable(url.hostname, Number(url.port || 4222))));
  if (reached.includes(true)) return;
  const shown = servers.map((url) => url.host).join(", ");
  throw new ArrwError("FAILED_PRECONDITION", `no NATS server answers at ${shown} (ARRW_NATS_URL)`, {
    reason: "NATS_UNREACHABLE",
  });
}

function reachable(host: string, port: number): Promise<boolean> {
  return new Promise((settle) => {
    const socket = connect({ host, port });
    const end = (answer: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      settle(answer);
    };
    const timer = setTimeout(() => end(false), CONNECT_TIMEOUT_MS);
    socket.once("connect", () => end(true));
    socket.on("error", () => end(false));
  });
}

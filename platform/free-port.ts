import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Below what operating systems give to outgoing connections: in that range a client that reconnects to a server
 * which is down may get the very port it connects to as its own, and the server can't come back.
 */
const RANGE = [10_240, 32_767] as const;
const ATTEMPTS = 200;

const handedOut = new Set<number>();

/** Why a port can't be bound; undefined = it can. */
export function portProblem(host: string, port: number): Promise<string | undefined> {
  return new Promise((settle) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      settle(error.code === "EADDRINUSE" ? "in use" : `not available (${error.code ?? error.message})`);
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => settle(undefined)));
  });
}

/**
 * A port that nothing listens on now, and that this process has not been given before.
 * @throws Error when none is found
 */
export async function freePort(host = "127.0.0.1"): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(RANGE[0], RANGE[1] + 1);
    if (handedOut.has(port) || (await portProblem(host, port)) !== undefined) continue;
    handedOut.add(port);
    return port;
  }
  throw new Error(`no free port on ${host}`);
}

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { freePort } from "../../platform/free-port.ts";
import { connect, waitForReady } from "../../platform/grpc/client.ts";
import { IndexServiceClient } from "../../proto/gen/arrwdb/index/v1/index.ts";

/** The index service as a process of its own, for tests that kill it. */
export interface IndexProcess {
  readonly client: IndexServiceClient;
  /** host:port of its gRPC. */
  readonly address: string;
  readonly pid: number;
  /** What it has logged so far, a JSON line each. */
  readonly lines: readonly string[];
  kill(signal: NodeJS.Signals): Promise<number | null>;
}

/** Resolves when it is ready. @throws with its log when it ends before */
export async function startIndexProcess(
  dataFolder: string,
  env: Readonly<Record<string, string>> = {},
  { openFiles }: { readonly openFiles?: number } = {},
): Promise<IndexProcess> {
  const port = Number(env.ARRW_INDEX_GRPC_PORT ?? (await freePort()));
  const child = fork(join(import.meta.dirname, "../../services/index/main.ts"), [], {
    env: {
      PATH: process.env.PATH,
      ARRW_DATA_DIR: dataFolder,
      ARRW_INDEX_GRPC_PORT: String(port),
      ARRW_INDEX_HTTP_PORT: String(await freePort()),
      ...env,
    },
    execArgv: ["--import", "tsx"],
    ...(openFiles === undefined ? {} : limited(openFiles)),
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  const lines: string[] = [];
  child.stdout
    ?.setEncoding("utf8")
    .on("data", (text: string) => lines.push(...text.split("\n").filter(Boolean)));
  // "close", not "exit": its lines have been read to the end then.
  const ended = once(child, "close") as Promise<[number | null]>;
  const ready = once(child, "message").then(() => true);
  if (!(await Promise.race([ready, ended.then(() => false)]))) throw new Error(lines.join("\n"));
  const address = `127.0.0.1:${port}`;
  const client = connect(IndexServiceClient, address);
  await waitForReady(client, 5_000);
  const pid = child.pid ?? 0;
  return { client, address, pid, lines, kill: (signal) => kill(child, client, ended, signal) };
}

async function kill(
  child: ChildProcess,
  client: IndexServiceClient,
  ended: Promise<[number | null]>,
  signal: NodeJS.Signals,
): Promise<number | null> {
  client.close();
  child.kill(signal);
  const [code] = await ended;
  return code;
}

/** Node behind a shell that lowers the limit for it. */
function limited(openFiles: number): { readonly execPath: string; readonly execArgv: string[] } {
  const script = `ulimit -n ${openFiles} && exec "$0" --import tsx "$@"`;
  return { execPath: "/bin/bash", execArgv: ["-c", script, process.execPath] };
}

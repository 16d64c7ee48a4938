import type { Command } from "commander";
import { ArrwClient, type ArrwClientOptions, ClientError } from "../client/index.ts";
import { type ConnectionOptions, clientOptions, connectionOptions } from "./connection-options.ts";
import { EXIT, exitCodeOf, Failure } from "./failure.ts";
import { plain } from "./format.ts";
import { nearestName } from "./nearest-name.ts";
import { note } from "./terminal.ts";
import { whyUnreachable } from "./unreachable.ts";

export interface ClientCommandOptions extends ConnectionOptions {
  readonly json?: boolean;
}

const CONNECT_TIMEOUT_MS = 5_000;
const SUGGESTION_TIMEOUT_MS = 2_000;
const MOST_COMPARED = 10_000;

/** Gives a command --json and what it needs to reach its gateway. */
export function withClientOptions(command: Command): Command {
  command.option("--json", "one JSON object per line; errors, too");
  for (const option of connectionOptions()) command.addOption(option);
  return command;
}

/**
 * Connects, runs, closes.
 * @throws Failure in words for a user; what `run` throws that is no ClientError
 */
export async function withClient<T>(
  options: ConnectionOptions,
  run: (client: ArrwClient) => Promise<T>,
): Promise<T> {
  const wanted = clientOptions(options);
  const client = new ArrwClient({ ...wanted, onStale: saidOnce() });
  try {
    await connect(client, wanted);
    return await run(client);
  } catch (error) {
    if (error instanceof ClientError) throw await toFailure(client, error);
    throw error;
  } finally {
    client.close();
  }
}

async function connect(client: ArrwClient, { tls, timeoutMs }: ArrwClientOptions): Promise<void> {
  const patienceMs = Math.min(timeoutMs ?? CONNECT_TIMEOUT_MS, CONNECT_TIMEOUT_MS);
  try {
    await client.connect({ timeoutMs: patienceMs });
  } catch (cause) {
    const why = await whyUnreachable(client.address, typeof tls === "object" ? tls : undefined);
    throw new Failure(why, {
      exitCode: EXIT.unreachable,
      code: "UNAVAILABLE",
      reason: "NOT_REACHABLE",
      cause,
    });
  }
}

/** Says that a reply may be old; one line, however many are. */
function saidOnce(): (sequence: bigint) => void {
  let said = false;
  return (sequence) => {
    if (said) return;
    said = true;
    note(
      `no scheduler leads now: this is as of sequence ${sequence} of the journal, newer changes are missing`,
    );
  };
}

/** What went wrong, for a user. */
export async function toFailure(client: ArrwClient, error: unknown): Promise<Failure> {
  if (error instanceof Failure) return error;
  if (!(error instanceof ClientError)) {
    return new Failure(error instanceof Error ? error.message : String(error), { cause: error });
  }
  const { code, reason, violations, retryAfterMs } = error;
  const message = await explained(client, error);
  const exitCode = exitCodeOf(error);
  return new Failure(message, { exitCode, code, reason, violations, retryAfterMs, cause: error });
}

async function explained(client: ArrwClient, error: ClientError): Promise<string> {
  const message = plain(error.message);
  if (error.reason === "LIBRARY_NOT_FOUND") return `${message}${await suggestion(client, error)}`;
  switch (error.code) {
    case "UNAVAILABLE":
      return `the system can't answer now: ${message}`;
    case "DEADLINE_EXCEEDED":
      return `no answer in time: ${message}`;
    case "UNAUTHENTICATED":
      return `${message}; a key is given by ARRW_API_KEY or --api-key-file`;
    default:
      return message;
  }
}

async function suggestion(client: ArrwClient, error: ClientError): Promise<string> {
  // Quoted as in JSON by the server.
  const wanted = /"([^"\\]+)"/.exec(error.message)?.[1];
  const names: string[] = [];
  try {
    for await (const { name } of client.libraries({ timeoutMs: SUGGESTION_TIMEOUT_MS })) {
      if (names.push(name) === MOST_COMPARED) break;
    }
  } catch {
    return "";
  }
  if (names.length === 0) return "; there is none yet: try `arrw library create NAME`";
  const nearest = wanted === undefined ? undefined : nearestName(wanted, names);
  return nearest === undefined ? "; `arrw library list` shows all" : `; did you mean ${nearest}?`;
}

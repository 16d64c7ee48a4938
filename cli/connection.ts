import type { Command } from "commander";
import { closest, distance } from "fastest-levenshtein";
import { ArrwClient, ClientError } from "../client/index.ts";
import { plain } from "./format.ts";
import { endQuietlyWhenUnread, note } from "./terminal.ts";

export interface ClientCommandOptions {
  readonly address: string;
  readonly json?: boolean;
}

const DEFAULT_ADDRESS = "127.0.0.1:50051";
const CONNECT_TIMEOUT_MS = 5_000;
const SUGGESTION_TIMEOUT_MS = 2_000;
const MOST_COMPARED = 10_000;

/** Gives a command --address and --json. */
export function withClientOptions(command: Command): Command {
  return command
    .option("--address <host:port>", "gateway (or ARRW_ADDRESS)", process.env.ARRW_ADDRESS || DEFAULT_ADDRESS)
    .option("--json", "one JSON object per line");
}

/**
 * Connects, runs, closes.
 * @throws Error in words for a user; what `run` throws that is no ClientError
 */
export async function withClient<T>(
  { address }: Pick<ClientCommandOptions, "address">,
  run: (client: ArrwClient) => Promise<T>,
): Promise<T> {
  endQuietlyWhenUnread();
  const client = new ArrwClient({ address, onStale: saidOnce() });
  try {
    await client.connect({ timeoutMs: CONNECT_TIMEOUT_MS }).catch((cause: unknown) => {
      const message = `gateway not reachable at ${address}: is it running? try \`arrw up\``;
      throw new Error(message, { cause });
    });
    return await run(client);
  } catch (error) {
    if (error instanceof ClientError) throw new Error(await explained(client, error), { cause: error });
    throw error;
  } finally {
    client.close();
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
export async function explained(client: ArrwClient, error: unknown): Promise<string> {
  if (!(error instanceof ClientError)) return error instanceof Error ? error.message : String(error);
  if (error.code === "INVALID_ARGUMENT" && error.violations.length > 1) {
    const list = error.violations.map(({ field, description }) => `  ${plain(field)}: ${plain(description)}`);
    return ["invalid request", ...list].join("\n");
  }
  if (error.reason === "LIBRARY_NOT_FOUND")
    return `${plain(error.message)}${await suggestion(client, error)}`;
  if (error.code === "UNAVAILABLE") return `the system can't answer now: ${plain(error.message)}`;
  return plain(error.message);
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

/** The name that a typing error could have turned into this one. */
export function nearestName(wanted: string, names: readonly string[]): string | undefined {
  if (names.length === 0) return undefined;
  const lower = wanted.toLowerCase();
  const nearest = closest(
    lower,
    names.map((name) => name.toLowerCase()),
  );
  const name = names.find((each) => each.toLowerCase() === nearest);
  return distance(lower, nearest) <= Math.max(2, Math.floor(wanted.length / 3)) ? name : undefined;
}

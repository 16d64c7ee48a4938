import { type Command, Option } from "commander";
import {
  type ArrwClientOptions,
  optionsFromEnvironment,
  type TlsOptions,
  tokenFromFile,
} from "../client/index.ts";
import { integer, timeMs } from "./arguments.ts";
import { UsageError } from "./failure.ts";

/** Where a command's gateway is and who asks; every command that asks it takes these options. */

export interface ConnectionOptions {
  readonly address: string;
  readonly apiKeyFile?: string;
  readonly tls?: boolean;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsServerName?: string;
  /** ms. */
  readonly timeout?: number;
}

export const DEFAULT_ADDRESS = "127.0.0.1:50051";
const HEADING = "Gateway:";
const NAMES = ["address", "apiKeyFile", "tls", "tlsCa", "tlsCert", "tlsKey", "tlsServerName", "timeout"];

export function connectionOptions(): Option[] {
  return [
    new Option("--address <host:port>", "its address (or ARRW_ADDRESS)").default(
      process.env.ARRW_ADDRESS || DEFAULT_ADDRESS,
      DEFAULT_ADDRESS,
    ),
    new Option("--api-key-file <file>", "file with an API key or a JWT (or ARRW_API_KEY_FILE, ARRW_API_KEY)"),
    new Option("--tls", "TLS, with an authority that Node knows (or ARRW_TLS=true)"),
    new Option("--tls-ca <file>", "TLS, with these authorities (or ARRW_TLS_CA_FILE)"),
    new Option("--tls-cert <file>", "certificate of the client (or ARRW_TLS_CERT_FILE)"),
    new Option("--tls-key <file>", "its key (or ARRW_TLS_KEY_FILE)"),
    new Option("--tls-server-name <name>", "name in the gateway's certificate (or ARRW_TLS_SERVER_NAME)"),
    new Option(
      "--timeout <time>",
      "for a call with its repetitions, as 5s, 2m (or ARRW_TIMEOUT_MS); default 30s",
    ).argParser(timeMs),
    new Option("--no-color", "no colours (or NO_COLOR)"),
  ].map((option) => option.helpGroup(HEADING));
}

/** What was said before the command's name holds for it, unless it says otherwise. */
export function inheritOptions(program: Command, command: Command): void {
  for (const name of [...NAMES, "json", "color"]) {
    if (program.getOptionValueSource(name) !== "cli" || command.getOptionValueSource(name) === "cli")
      continue;
    command.setOptionValueWithSource(name, program.getOptionValue(name), "cli");
  }
}

/**
 * For ArrwClient: options, then the environment.
 * @throws ClientError INVALID_ARGUMENT, UsageError
 */
export function clientOptions(options: ConnectionOptions): ArrwClientOptions {
  const { address, apiKeyFile } = options;
  // The key of the command line wins.
  const { ARRW_API_KEY, ARRW_API_KEY_FILE, ...others } = process.env;
  const env = apiKeyFile === undefined ? { ...others, ARRW_API_KEY, ARRW_API_KEY_FILE } : others;
  const { tls: given, ...base } = optionsFromEnvironment(env);
  const tls = tlsOf(options, given);
  const timeoutMs = timeoutOf(options);
  return {
    ...base,
    address,
    ...(apiKeyFile === undefined ? {} : { token: tokenFromFile(apiKeyFile) }),
    ...(tls ? { tls } : {}),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

/** ms; undefined = not said. */
export function timeoutOf({ timeout }: Pick<ConnectionOptions, "timeout">): number | undefined {
  const named = process.env.ARRW_TIMEOUT_MS;
  const ms = timeout ?? (named ? integer(named) : undefined);
  if (ms !== undefined && ms < 1) throw new UsageError("--timeout: more than 0");
  return ms;
}

function tlsOf(options: ConnectionOptions, given: ArrwClientOptions["tls"]): TlsOptions | undefined {
  const { tls, tlsCa, tlsCert, tlsKey, tlsServerName } = options;
  const base = typeof given === "object" ? given : undefined;
  if (!tls && tlsCa === undefined && !base) {
    if (tlsCert ?? tlsKey ?? tlsServerName)
      throw new UsageError("--tls-cert, --tls-key, --tls-server-name: with --tls or --tls-ca");
    return undefined;
  }
  return {
    ...base,
    ...(tlsCa === undefined ? {} : { caFile: tlsCa }),
    ...(tlsCert === undefined ? {} : { certFile: tlsCert }),
    ...(tlsKey === undefined ? {} : { keyFile: tlsKey }),
    ...(tlsServerName === undefined ? {} : { serverName: tlsServerName }),
  };
}

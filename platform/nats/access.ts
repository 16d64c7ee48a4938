import { readFileSync } from "node:fs";
import { type ConnectionOptions, connect, credsAuthenticator, ErrorCode, NatsError } from "nats";
import { ConfigError, type SettingName, type Settings } from "../config.ts";

/** Where NATS is, and how this process is let in. Plain data: threads get a copy. */
export interface NatsAccess {
  /** "nats://[user:password@]host:port[,...]"; the first name and password count. tls:// = never without TLS. */
  readonly url: string;
  /** Default OWN_API. */
  readonly apiPrefix?: string;
  /** File with a JWT and its seed; read at each connect. Default "": what the URL says. */
  readonly credsFile?: string;
  /** PEM authorities; given = never without TLS. Default "": those that Node knows. */
  readonly caFile?: string;
}

export const NATS_SETTINGS = [
  "ARRW_NATS_URL",
  "ARRW_NATS_API_PREFIX",
  "ARRW_NATS_CREDS_FILE",
  "ARRW_NATS_CA_FILE",
] as const satisfies readonly SettingName[];

/** JetStream's API where the streams are of this process's own account. */
export const OWN_API = "$JS.API";

/** @throws ConfigError naming a file that can't be read */
export function natsAccess(settings: Settings<(typeof NATS_SETTINGS)[number]>): NatsAccess {
  const { ARRW_NATS_CREDS_FILE: credsFile, ARRW_NATS_CA_FILE: caFile } = settings;
  for (const [name, file] of Object.entries({ ARRW_NATS_CREDS_FILE: credsFile, ARRW_NATS_CA_FILE: caFile })) {
    if (file !== "") readable(name, file);
  }
  return { url: settings.ARRW_NATS_URL, apiPrefix: settings.ARRW_NATS_API_PREFIX, credsFile, caFile };
}

/** Whether the streams are another account's: it makes, changes and purges them. */
export function isGuest({ apiPrefix = OWN_API }: NatsAccess): boolean {
  return apiPrefix !== OWN_API;
}

/** The part of the client library's options that `access` decides. */
export function connectionOptions(access: NatsAccess): ConnectionOptions {
  const { credsFile = "", caFile = "" } = access;
  const urls = access.url.split(",").map((each) => new URL(each));
  const named = urls.find(({ username }) => username !== "");
  const [user, pass] = [named?.username, named?.password].map((part) => decodeURIComponent(part ?? ""));
  const secure = caFile !== "" || urls.some(({ protocol }) => protocol === "tls:");
  return {
    servers: urls.map(({ host }) => host),
    ...(secure ? { tls: caFile === "" ? {} : { caFile } } : {}),
    ...(credsFile === "" ? identity(user ?? "", pass ?? "") : { authenticator: fromFile(credsFile) }),
    // A password that is being changed, at the server first, must not end the process's connection for good.
    ignoreAuthErrorAbort: true,
  };
}

/** @throws Error when a server is there and doesn't let this process in; else it may be worth waiting for one */
export async function refuseToWait(options: ConnectionOptions): Promise<void> {
  try {
    const probe = await connect({ ...options, reconnect: false, waitOnFirstConnect: false });
    await probe.close();
  } catch (error) {
    const code = error instanceof NatsError ? error.code : "";
    if (code !== ErrorCode.AuthorizationViolation && code !== ErrorCode.BadCreds) return;
    throw new Error(
      `NATS does not let this process in: ${String(error)} (see ARRW_NATS_URL, ARRW_NATS_CREDS_FILE)`,
    );
  }
}

function identity(user: string, pass: string): Pick<ConnectionOptions, "user" | "pass" | "token"> {
  if (user === "") return {};
  return pass === "" ? { token: user } : { user, pass };
}

function fromFile(file: string): ReturnType<typeof credsAuthenticator> {
  return (nonce) => credsAuthenticator(readFileSync(file))(nonce);
}

function readable(name: string, file: string): void {
  try {
    readFileSync(file);
  } catch (error) {
    throw new ConfigError([`${name}: ${file}: can't be read (${(error as NodeJS.ErrnoException).code})`]);
  }
}

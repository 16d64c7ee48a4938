import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import {
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  ErrorCode,
  type NatsConnection,
  NatsError,
} from "nats";
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

const TELL_MS = 10_000;
const AGAIN_MS = 250;

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

export interface WaitOptions {
  /** Told from time to time why it isn't connected yet. */
  readonly onWaiting: (reason: string) => void;
  /** False = nobody wants it any more. */
  readonly isWanted: () => boolean;
}

/** Waits for a server as long as it takes. @throws Error when there is one that doesn't let this process in */
export async function connectWhenThere(
  options: ConnectionOptions,
  { onWaiting, isWanted }: WaitOptions,
): Promise<NatsConnection> {
  let toldAt = performance.now();
  for (;;) {
    try {
      return await connect(options);
    } catch (error) {
      const code = error instanceof NatsError ? error.code : "";
      if (!isWanted()) throw error;
      if (code === ErrorCode.AuthorizationViolation || code === ErrorCode.BadCreds)
        throw new Error(
          `NATS does not let this process in: ${String(error)} (ARRW_NATS_URL, ARRW_NATS_CREDS_FILE)`,
        );
      if (performance.now() - toldAt > TELL_MS) {
        toldAt = performance.now();
        onWaiting(String(error));
      }
    }
    await delay(AGAIN_MS);
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

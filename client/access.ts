import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import {
  type ChannelCredentials,
  type ClientOptions,
  credentials,
  InterceptingCall,
  type Interceptor,
  Metadata,
  status,
} from "@grpc/grpc-js";
import { ClientError } from "./error.ts";

/** How a client shows who it is, and makes sure of whom it talks to. */

/** PEM: either the text, or the name of a file with it, which is read when the client is made. */
export interface TlsOptions {
  /** The authorities that the gateway's certificate may be of; default: those that Node knows. */
  readonly ca?: string | Uint8Array;
  readonly caFile?: string;
  /** The client's own certificate with its chain, and its key, where the gateway asks for one (mTLS). */
  readonly cert?: string | Uint8Array;
  readonly certFile?: string;
  readonly key?: string | Uint8Array;
  readonly keyFile?: string;
  /** The name that the gateway's certificate has to be for; default: the address's host. */
  readonly serverName?: string;
}

export interface AccessOptions {
  /** An API key, or a JWT that outlives the client; sent with every call. */
  readonly apiKey?: string;
  /** Gives the API key or JWT of a call, asked before each; not together with `apiKey`. */
  readonly token?: () => string | Promise<string>;
  /** true: TLS with the authorities that Node knows. Default: no TLS. */
  readonly tls?: boolean | TlsOptions;
  /** Instead of `tls`: grpc-js's own. */
  readonly credentials?: ChannelCredentials;
}

export interface Access {
  readonly credentials: ChannelCredentials;
  /** For the stubs, beside their other options. */
  readonly options: ClientOptions;
}

/** @throws ClientError INVALID_ARGUMENT: options that contradict each other, a file that can't be read, no PEM */
export function accessOf(options: AccessOptions): Access {
  const { apiKey, token, tls } = options;
  if (apiKey !== undefined && token) throw invalid("apiKey and token: one of the two");
  if (options.credentials && tls) throw invalid("credentials and tls: one of the two");
  const bearer = token ?? (apiKey === undefined ? undefined : () => apiKey);
  const given = typeof tls === "object" ? tls : {};
  const { serverName } = given;
  return {
    credentials: options.credentials ?? (tls ? tlsCredentials(given) : credentials.createInsecure()),
    options: {
      ...(bearer ? { interceptors: [bearing(bearer)] } : {}),
      ...(serverName
        ? { "grpc.ssl_target_name_override": serverName, "grpc.default_authority": serverName }
        : {}),
    },
  };
}

function tlsCredentials(tls: TlsOptions): ChannelCredentials {
  const ca = pem("ca", tls.ca, tls.caFile);
  const cert = pem("cert", tls.cert, tls.certFile);
  const key = pem("key", tls.key, tls.keyFile);
  if ((cert === null) !== (key === null)) throw invalid("tls: cert and key go together");
  try {
    return credentials.createSsl(ca, key, cert);
  } catch (error) {
    const files = [tls.caFile, tls.certFile, tls.keyFile].filter((file) => file !== undefined);
    const where = files.length > 0 ? ` (${files.join(", ")})` : "";
    throw invalid(`tls: ${(error as Error).message}${where}`, error);
  }
}

function pem(name: string, text: string | Uint8Array | undefined, file: string | undefined): Buffer | null {
  if (text !== undefined && file !== undefined) throw invalid(`tls: ${name} and ${name}File: one of the two`);
  if (text !== undefined) return Buffer.from(text);
  if (file === undefined) return null;
  try {
    const content = readFileSync(file);
    if (content.includes("-----BEGIN ")) return content;
  } catch (error) {
    throw invalid(`tls: ${name}File: ${(error as Error).message}`, error);
  }
  throw invalid(`tls: ${name}File: ${file} has no PEM in it`);
}

/** Adds what `token` gives to every call. What it throws ends the call with UNAUTHENTICATED. */
function bearing(token: () => string | Promise<string>): Interceptor {
  return (options, nextCall) => {
    const call = nextCall(options);
    return new InterceptingCall(call, {
      start: (metadata, listener, next) => {
        const go = (value: string): void => {
          const own = metadata.clone();
          own.set("authorization", `Bearer ${value}`);
          next(own, listener);
        };
        const refuse = (error: unknown): void => {
          const details = `no token: ${error instanceof Error ? error.message : String(error)}`;
          listener.onReceiveStatus({ code: status.UNAUTHENTICATED, details, metadata: new Metadata() });
          // It has not begun, and would wait for its deadline.
          call.cancelWithStatus(status.UNAUTHENTICATED, details);
        };
        try {
          const given = token();
          if (typeof given === "string") go(given);
          else given.then(go).catch(refuse);
        } catch (error) {
          refuse(error);
        }
      },
    });
  };
}

function invalid(message: string, cause?: unknown): ClientError {
  return new ClientError("INVALID_ARGUMENT", message, { cause });
}

/** How long a key that was read from a file is taken to be the one in it. */
const REREAD_MS = 10_000;

/** A `token` that reads a file, and again every few seconds: a key that is replaced there takes effect. */
export function tokenFromFile(file: string): () => Promise<string> {
  let value: Promise<string> | undefined;
  let readAtMs = 0;
  return () => {
    const nowMs = performance.now();
    if (value && nowMs - readAtMs < REREAD_MS) return value;
    readAtMs = nowMs;
    const read = readKey(file);
    read.catch(() => {
      if (value === read) value = undefined;
    });
    value = read;
    return read;
  };
}

async function readKey(file: string): Promise<string> {
  const content = (await readFile(file, "utf8")).trim();
  if (content === "") throw new Error(`${file}: no key in it`);
  // It goes into a header.
  if (!/^[\x21-\x7e]+$/.test(content)) throw new Error(`${file}: more than a key in it`);
  return content;
}

import type { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { TlsOptions } from "../client/index.ts";

/** Why no connection to a gateway came about: gRPC itself only says that there is none. */

const PATIENCE_MS = 2_000;
/** After its handshake a server tells about a certificate that it misses. */
const SETTLE_MS = 500;
/** How HTTP/2 begins: the preface, and SETTINGS without any. */
const PREFACE = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);
const TLS_ALERT = 0x15;

/** A sentence for the user. `tls`: how it was tried; undefined = without. */
export async function whyUnreachable(address: string, tls: TlsOptions | undefined): Promise<string> {
  const where = `gateway not reachable at ${address}`;
  const target = hostAndPort(address);
  if (!target) return `${where}: expected host:port`;
  const socket = await opened(target);
  if (!("write" in socket)) return `${where}: ${openText(socket.code)}`;
  try {
    return `${where}: ${tls ? await tlsText(socket, target.host, tls) : await plainText(socket, target)}`;
  } finally {
    socket.destroy();
  }
}

/** The first of these events and what came with it; undefined = none in time. */
function first(
  emitter: EventEmitter,
  names: readonly string[],
  patienceMs: number,
): Promise<{ readonly name: string; readonly value: unknown } | undefined> {
  return new Promise((resolve) => {
    const listeners = names.map((name) => {
      const listener = (value: unknown): void => end({ name, value });
      emitter.once(name, listener);
      return () => emitter.off(name, listener);
    });
    const end = (event?: { readonly name: string; readonly value: unknown }): void => {
      clearTimeout(timer);
      for (const remove of listeners) remove();
      resolve(event);
    };
    const timer = setTimeout(end, patienceMs);
  });
}

interface Target {
  readonly host: string;
  readonly port: number;
}

export function hostAndPort(address: string): Target | undefined {
  const [, bracketed, named, digits] = /^(?:\[([^\]]+)\]|([^\s:/]+)):(\d{1,5})$/.exec(address) ?? [];
  const host = bracketed ?? named;
  const port = Number(digits);
  return host === undefined || port > 65_535 ? undefined : { host, port };
}

async function opened(target: Target): Promise<Socket | { readonly code: string }> {
  const socket = connect(target);
  // Whatever comes later: the socket is only looked at.
  socket.on("error", () => undefined);
  const event = await first(socket, ["connect", "error"], PATIENCE_MS);
  if (event?.name === "connect") return socket;
  socket.destroy();
  return { code: event ? codeOf(event.value) : "ETIMEDOUT" };
}

function codeOf(error: unknown): string {
  // A host with several addresses has an error for each.
  const [first = error] = error instanceof AggregateError ? error.errors : [];
  return (first as { code?: unknown }).code?.toString() ?? (first as Error).name;
}

function openText(code: string): string {
  if (code === "ECONNREFUSED") return "is it running? try `arrw up`";
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return "no such host";
  if (code === "ETIMEDOUT") return "nothing answers there";
  return `${code}; is it running? try \`arrw up\``;
}

/** What answers to HTTP/2 without TLS. */
async function plainText(socket: Socket, target: Target): Promise<string> {
  socket.write(PREFACE);
  const event = await first(socket, ["data", "close"], PATIENCE_MS);
  const answer = event?.name === "data" ? (event.value as Buffer) : undefined;
  if (answer?.[0] === TLS_ALERT || (!answer && (await speaksTls(target)))) {
    return "it speaks TLS: say --tls-ca FILE, or --tls if its authority is a known one";
  }
  if (answer?.toString("latin1").startsWith("HTTP/1")) {
    return "that is an HTTP port; the gRPC API has one of its own, 50051 unless it is set otherwise";
  }
  return answer
    ? "it answers, but no gRPC: is that the gateway?"
    : "something listens there, but it does not answer";
}

/** Most servers only hang up on what is no TLS. */
async function speaksTls(target: Target): Promise<boolean> {
  const socket = await opened(target);
  if (!("write" in socket)) return false;
  const secure = connectTls({ socket, ALPNProtocols: ["h2"], rejectUnauthorized: false });
  secure.on("error", () => undefined);
  const event = await first(secure, ["secureConnect", "close"], PATIENCE_MS);
  secure.destroy();
  return event?.name === "secureConnect";
}

async function tlsText(socket: Socket, host: string, tls: TlsOptions): Promise<string> {
  const name = tls.serverName ?? host;
  const secure = connectTls({
    socket,
    ALPNProtocols: ["h2"],
    ...(/^[\d.]+$|:/.test(name) ? { host: name } : { servername: name, host: name }),
    ...pemOf("ca", tls.ca, tls.caFile),
    ...pemOf("cert", tls.cert, tls.certFile),
    ...pemOf("key", tls.key, tls.keyFile),
  });
  const error = await firstError(secure);
  secure.destroy();
  return error ? handshakeText(error, tls) : "it speaks TLS, but no gRPC: is that the gateway?";
}

function pemOf(name: string, text: string | Uint8Array | undefined, file: string | undefined): object {
  if (text !== undefined) return { [name]: Buffer.from(text) };
  return file === undefined ? {} : { [name]: readFileSync(file) };
}

/** undefined: the handshake passed, and the server goes on. */
async function firstError(socket: TLSSocket): Promise<NodeJS.ErrnoException | undefined> {
  socket.on("error", () => undefined);
  const handshake = await first(socket, ["secureConnect", "error", "close"], PATIENCE_MS);
  const then =
    handshake?.name === "secureConnect"
      ? await first(socket, ["data", "error", "close"], SETTLE_MS)
      : handshake;
  if (then?.name === "error") return then.value as NodeJS.ErrnoException;
  if (then?.name === "close") return Object.assign(new Error("it hung up"), { code: "CLOSED" });
  return handshake ? undefined : Object.assign(new Error("no answer in time"), { code: "TIMEOUT" });
}

const HAS_NONE = "it wants a certificate of the client: say --tls-cert and --tls-key";

function handshakeText(error: NodeJS.ErrnoException, tls: TlsOptions): string {
  const code = error.code ?? "";
  const hasOwn = tls.cert !== undefined || tls.certFile !== undefined;
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH|HTTP_REQUEST/.test(code) || code === "EPROTO") {
    return "it speaks no TLS: leave --tls and --tls-ca out, and ARRW_TLS_CA_FILE";
  }
  if (/^ERR_TLS_CERT_ALTNAME/.test(code)) {
    return `its certificate is for another name (${error.message}); --tls-server-name says which is right`;
  }
  if (/EXPIRED|NOT_YET_VALID/.test(code)) return `its certificate is out of its time (${code})`;
  if (/SELF_SIGNED|UNABLE_TO|CERT_UNTRUSTED|CERT_SIGNATURE/.test(code)) {
    const file = tls.caFile === undefined ? "is known; say --tls-ca FILE" : `is in ${tls.caFile}`;
    return `its certificate is of no authority that ${file} (${code})`;
  }
  if (/ALERT|CLOSED|ECONNRESET/.test(code)) {
    return hasOwn ? `it does not take the certificate of the client (${code})` : HAS_NONE;
  }
  return `TLS fails: ${error.message}`;
}

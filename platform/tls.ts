import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { createSecureContext, type TlsOptions } from "node:tls";
import { type ChannelCredentials, credentials, experimental, ServerCredentials } from "@grpc/grpc-js";
import { ConfigError, type SettingName, type Settings } from "./config.ts";
import { once, type Part } from "./lifecycle.ts";
import type { Logger } from "./log.ts";
import { Gauge, type Registry } from "./metrics.ts";

/**
 * The certificates of a process: of its listeners (gRPC and HTTP), of the calls it makes, and the authorities that each
 * side trusts. Files that change are taken up without a restart; what can't be used leaves the certificates in use.
 */

export const TLS_SETTINGS = [
  "ARRW_TLS_CERT_FILE",
  "ARRW_TLS_KEY_FILE",
  "ARRW_TLS_CLIENT_CA_FILE",
  "ARRW_TLS_CA_FILE",
] as const satisfies readonly SettingName[];

export type TlsSettings = Settings<(typeof TLS_SETTINGS)[number]>;

export interface TlsOptionsOfProcess {
  readonly settings: TlsSettings;
  readonly log: Logger;
  readonly registry?: Registry;
  /** How often files are looked at; default 10,000. */
  readonly intervalMs?: number;
}

/** What the files hold. */
interface Loaded {
  readonly identity: { readonly certificate: Buffer; readonly privateKey: Buffer } | undefined;
  readonly clientAuthorities: Buffer | undefined;
  readonly authorities: Buffer | undefined;
  /** When the own certificate ends; undefined = there is none. */
  readonly expiresAt: Date | undefined;
}

type Pem = Buffer;
type CaListener = (update: { caCertificate: Pem } | null) => void;
type IdentityListener = (update: { certificate: Pem; privateKey: Pem } | null) => void;

const INTERVAL_MS = 10_000;
const WARN_BEFORE_MS = 14 * 86_400_000;

export class Tls implements Part {
  readonly name = "certificates";
  readonly #options: TlsOptionsOfProcess;
  readonly #server: Source;
  readonly #client: Source;
  readonly #renewed = new Set<(options: TlsOptions) => void>();
  #loaded: Loaded;
  #stamp = "";
  #timer: NodeJS.Timeout | undefined;

  /** @throws ConfigError naming the setting, its file and what is wrong with it */
  constructor(options: TlsOptionsOfProcess) {
    this.#options = options;
    this.#loaded = load(options.settings);
    this.#server = new Source(() => ({ ...this.#loaded, ca: this.#loaded.clientAuthorities }));
    this.#client = new Source(() => ({ ...this.#loaded, ca: this.#loaded.authorities }));
    if (options.registry && this.#loaded.expiresAt) {
      const gauge: Gauge = new Gauge({
        name: "arrw_tls_certificate_expires_timestamp_seconds",
        help: "Unix time at which the certificate of this process ends",
        registers: [options.registry],
        collect: () => gauge.set((this.#loaded.expiresAt?.getTime() ?? 0) / 1_000),
      });
    }
    this.#warnOfEnd();
  }

  /** Of gRPC listeners. */
  get serverCredentials(): ServerCredentials {
    if (!this.#loaded.identity) return ServerCredentials.createInsecure();
    const authorities = this.#loaded.clientAuthorities ? this.#server : null;
    // The library's types name the first two the other way round.
    const [identity, ca] = [this.#server, authorities as Source];
    return experimental.createCertificateProviderServerCredentials(identity, ca, authorities !== null);
  }

  /** Of gRPC calls to other services. */
  get channelCredentials(): ChannelCredentials {
    if (!this.#loaded.authorities) return credentials.createInsecure();
    const identity = this.#loaded.identity ? this.#client : null;
    return experimental.createCertificateProviderChannelCredentials(this.#client, identity);
  }

  /** Of HTTP listeners; undefined = without TLS. They stay current by `onRenewal`. */
  get httpsOptions(): TlsOptions | undefined {
    const { identity, clientAuthorities } = this.#loaded;
    if (!identity) return undefined;
    const options: TlsOptions = { cert: identity.certificate, key: identity.privateKey };
    if (!clientAuthorities) return options;
    return { ...options, ca: clientAuthorities, requestCert: true, rejectUnauthorized: true };
  }

  /** Called with the new `httpsOptions`: `tls.onRenewal((options) => server.setSecureContext(options))`. */
  onRenewal(listener: (options: TlsOptions) => void): () => void {
    this.#renewed.add(listener);
    return () => this.#renewed.delete(listener);
  }

  async start(): Promise<void> {
    if (this.#files().length === 0) return;
    this.#stamp = await this.#stampOfFiles();
    this.#timer = setInterval(() => void this.#look(), this.#options.intervalMs ?? INTERVAL_MS);
    this.#timer.unref();
  }

  readonly stop = once(async () => {
    clearInterval(this.#timer);
    this.#renewed.clear();
  });

  #files(): string[] {
    return TLS_SETTINGS.map((name) => this.#options.settings[name]).filter((file) => file !== "");
  }

  async #stampOfFiles(): Promise<string> {
    const stamps = this.#files().map((file) =>
      stat(file).then(
        ({ mtimeMs, size, ino }) => `${mtimeMs} ${size} ${ino}`,
        () => "missing",
      ),
    );
    return (await Promise.all(stamps)).join();
  }

  async #look(): Promise<void> {
    const stamp = await this.#stampOfFiles();
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    const { settings, log } = this.#options;
    try {
      this.#loaded = load(settings);
    } catch (error) {
      // A certificate is often there before its key: the next change is looked at again.
      log.error({ err: error }, "changed certificates can't be used: those in use stay");
      return;
    }
    log.info({ expires_at: this.#loaded.expiresAt }, "certificates renewed");
    this.#server.tell();
    this.#client.tell();
    const options = this.httpsOptions;
    if (options) for (const listener of this.#renewed) listener(options);
    this.#warnOfEnd();
  }

  #warnOfEnd(): void {
    const { expiresAt } = this.#loaded;
    if (!expiresAt || expiresAt.getTime() - Date.now() > WARN_BEFORE_MS) return;
    const file = this.#options.settings.ARRW_TLS_CERT_FILE;
    this.#options.log.warn({ file, expires_at: expiresAt }, "the certificate ends soon");
  }
}

type Read = () => Pick<Loaded, "identity"> & { readonly ca: Buffer | undefined };

/** What grpc-js asks for certificates. It wants the first answer after it has asked, not meanwhile. */
class Source implements experimental.CertificateProvider {
  readonly #read: Read;
  readonly #ca = new Set<CaListener>();
  readonly #identity = new Set<IdentityListener>();

  constructor(read: Read) {
    this.#read = read;
  }

  tell(): void {
    for (const listener of this.#ca) this.#tellCa(listener);
    for (const listener of this.#identity) listener(this.#read().identity ?? null);
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#ca.add(listener);
    process.nextTick(() => this.#tellCa(listener));
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#ca.delete(listener);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identity.add(listener);
    process.nextTick(() => listener(this.#read().identity ?? null));
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identity.delete(listener);
  }

  #tellCa(listener: CaListener): void {
    const { ca } = this.#read();
    listener(ca ? { caCertificate: ca } : null);
  }
}

/** @throws ConfigError */
function load(settings: TlsSettings): Loaded {
  const {
    ARRW_TLS_CERT_FILE: certFile,
    ARRW_TLS_KEY_FILE: keyFile,
    ARRW_TLS_CLIENT_CA_FILE: clientCaFile,
  } = settings;
  if ((certFile === "") !== (keyFile === ""))
    throw new ConfigError(["ARRW_TLS_CERT_FILE and ARRW_TLS_KEY_FILE: both or neither must be set"]);
  if (clientCaFile !== "" && certFile === "")
    throw new ConfigError(["ARRW_TLS_CLIENT_CA_FILE: needs ARRW_TLS_CERT_FILE and ARRW_TLS_KEY_FILE too"]);
  const clientAuthorities = readAuthorities("ARRW_TLS_CLIENT_CA_FILE", clientCaFile);
  const authorities = readAuthorities("ARRW_TLS_CA_FILE", settings.ARRW_TLS_CA_FILE);
  if (certFile === "") return { identity: undefined, clientAuthorities, authorities, expiresAt: undefined };
  const certificate = read("ARRW_TLS_CERT_FILE", certFile);
  const privateKey = read("ARRW_TLS_KEY_FILE", keyFile);
  const expiresAt = check(settings, certificate, privateKey);
  return { identity: { certificate, privateKey }, clientAuthorities, authorities, expiresAt };
}

/** @returns when the certificate ends */
function check(settings: TlsSettings, certificate: Buffer, privateKey: Buffer): Date {
  const { ARRW_TLS_CERT_FILE: certFile, ARRW_TLS_KEY_FILE: keyFile } = settings;
  const parsed = parse("ARRW_TLS_CERT_FILE", certFile, certificate);
  const key = attempt("ARRW_TLS_KEY_FILE", keyFile, "no PEM private key, or one with a passphrase", () =>
    createPrivateKey(privateKey),
  );
  if (!parsed.checkPrivateKey(key))
    throw wrong("ARRW_TLS_KEY_FILE", keyFile, `not the key of the certificate in ${certFile}`);
  const [from, to] = [new Date(parsed.validFrom), new Date(parsed.validTo)];
  if (to.getTime() <= Date.now())
    throw wrong("ARRW_TLS_CERT_FILE", certFile, `the certificate ended at ${to.toISOString()}`);
  if (from.getTime() > Date.now())
    throw wrong("ARRW_TLS_CERT_FILE", certFile, `the certificate begins at ${from.toISOString()}`);
  attempt("ARRW_TLS_CERT_FILE", certFile, "TLS can't use it", () =>
    createSecureContext({ cert: certificate, key: privateKey }),
  );
  return to;
}

function readAuthorities(name: SettingName, file: string): Buffer | undefined {
  if (file === "") return undefined;
  const pem = read(name, file);
  parse(name, file, pem);
  return pem;
}

function read(name: SettingName, file: string): Buffer {
  return attempt(name, file, "can't be read", () => readFileSync(file));
}

function parse(name: SettingName, file: string, pem: Buffer): X509Certificate {
  return attempt(name, file, "no PEM certificate", () => new X509Certificate(pem));
}

function attempt<T>(name: SettingName, file: string, problem: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw wrong(name, file, `${problem} (${code ?? message})`);
  }
}

function wrong(name: SettingName, file: string, problem: string): ConfigError {
  return new ConfigError([`${name}: ${file}: ${problem}`]);
}

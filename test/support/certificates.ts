import { webcrypto } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";

/** An authority of a test's own, and certificates that it signs, as PEM files. */

const { KeyUsageFlags } = x509;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const HOUR_MS = 3_600_000;
const EXTENDED_USE = {
  server: "1.3.6.1.5.5.7.3.1",
  client: "1.3.6.1.5.5.7.3.2",
} as const;

export interface Issued {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface IssueOptions {
  /** Common name. */
  readonly name: string;
  /** Default: localhost and 127.0.0.1. */
  readonly hosts?: readonly string[];
  /** From now on; negative = it has ended. Default an hour. */
  readonly validMs?: number;
  /** Base name of the files; default `name`. */
  readonly file?: string;
}

export class TestAuthority {
  /** The authority's certificate. */
  readonly caFile: string;
  readonly #folder: string;
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #certificate: x509.X509Certificate;

  private constructor(folder: string, keys: webcrypto.CryptoKeyPair, certificate: x509.X509Certificate) {
    this.#folder = folder;
    this.#keys = keys;
    this.#certificate = certificate;
    this.caFile = join(folder, "ca.pem");
  }

  static async create(folder: string): Promise<TestAuthority> {
    x509.cryptoProvider.set(webcrypto as never);
    await mkdir(folder, { recursive: true });
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: serialNumber(),
      name: "CN=test authority",
      notBefore: new Date(Date.now() - HOUR_MS),
      notAfter: new Date(Date.now() + HOUR_MS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      ],
    });
    const authority = new TestAuthority(folder, keys, certificate);
    await writeFile(authority.caFile, certificate.toString("pem"));
    return authority;
  }

  /** For servers and for clients; files that are there are written again. */
  async issue({ name, hosts, validMs = HOUR_MS, file = name }: IssueOptions): Promise<Issued> {
    const keys = await newKeys();
    const now = Date.now();
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serialNumber(),
      subject: `CN=${name}`,
      issuer: this.#certificate.subject,
      notBefore: new Date(now - HOUR_MS),
      notAfter: new Date(now + validMs),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(false),
        new x509.KeyUsagesExtension(KeyUsageFlags.digitalSignature),
        new x509.ExtendedKeyUsageExtension([EXTENDED_USE.server, EXTENDED_USE.client]),
        new x509.SubjectAlternativeNameExtension(
          (hosts ?? ["localhost", "127.0.0.1"]).map((value) => ({
            type: /^[\d.]+$/.test(value) ? "ip" : "dns",
            value,
          })),
        ),
      ],
    });
    const issued = {
      certFile: join(this.#folder, `${file}.pem`),
      keyFile: join(this.#folder, `${file}-key.pem`),
    };
    await writeFile(issued.certFile, certificate.toString("pem"));
    const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
    await writeFile(issued.keyFile, x509.PemConverter.encode(pkcs8, "PRIVATE KEY"), { mode: 0o600 });
    return issued;
  }
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, [
    "sign",
    "verify",
  ]) as Promise<webcrypto.CryptoKeyPair>;
}

function serialNumber(): string {
  return Buffer.from(webcrypto.getRandomValues(new Uint8Array(8))).toString("hex");
}

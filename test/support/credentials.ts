import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Metadata } from "@grpc/grpc-js";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { type ApiKey, formatApiKeyFile, hashApiKey, newApiKey } from "../../platform/api-keys.ts";

/** API keys and tokens for tests. */

export type KeySpec = Pick<ApiKey, "role"> & Partial<Omit<ApiKey, "name" | "sha256">>;

/** Metadata with these credentials. */
export function bearer(credentials: string): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${credentials}`);
  return metadata;
}

/** A file of keys in a folder, and the keys by name. */
export class KeyFile {
  readonly path: string;
  readonly #keys = new Map<string, string>();
  #entries: ApiKey[] = [];

  constructor(folder: string) {
    this.path = join(folder, "keys.json");
  }

  /** The key that has the name. */
  key(name: string): string {
    const key = this.#keys.get(name);
    if (key === undefined) throw new Error(`no key ${name}`);
    return key;
  }

  /** As `arrw keys create` does. */
  async add(name: string, spec: KeySpec): Promise<void> {
    const key = newApiKey();
    this.#keys.set(name, key);
    this.#entries = [...this.#entries, { name, ...spec, sha256: [hashApiKey(key).toString("hex")] }];
    await this.#write(formatApiKeyFile({ keys: this.#entries }));
  }

  /** As `arrw keys revoke` does. */
  async remove(name: string): Promise<void> {
    this.#entries = this.#entries.filter((each) => each.name !== name);
    await this.#write(formatApiKeyFile({ keys: this.#entries }));
  }

  /** Something else in its place. */
  replace(text: string): Promise<void> {
    return this.#write(text);
  }

  async #write(text: string): Promise<void> {
    await writeFile(`${this.path}.new`, text, { mode: 0o600 });
    await rename(`${this.path}.new`, this.path);
  }
}

/** An issuer of JWTs, and the file of its public keys. */
export class TokenIssuer {
  readonly path: string;
  #pair: Awaited<ReturnType<typeof generateKeyPair>> | undefined;

  constructor(folder: string) {
    this.path = join(folder, "jwks.json");
  }

  /** Makes a key; the file has that one alone. */
  async renew(): Promise<void> {
    const pair = await generateKeyPair("ES256");
    this.#pair = pair;
    const jwk = { ...(await exportJWK(pair.publicKey)), alg: "ES256", use: "sig" };
    await writeFile(`${this.path}.new`, JSON.stringify({ keys: [jwk] }));
    await rename(`${this.path}.new`, this.path);
  }

  /** Valid for an hour from the audience arrwdb, but for what `claims` say. */
  sign(claims: JWTPayload): Promise<string> {
    if (!this.#pair) throw new Error("renew() makes the key");
    const now = Math.floor(Date.now() / 1_000);
    return new SignJWT({ aud: "arrwdb", iss: "https://issuer.test", sub: "ann", exp: now + 3_600, ...claims })
      .setProtectedHeader({ alg: "ES256" })
      .sign(this.#pair.privateKey);
  }
}

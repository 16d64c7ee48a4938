import { timingSafeEqual } from "node:crypto";
import { type ApiKey, hashApiKey, parseApiKeyFile } from "../../../platform/api-keys.ts";
import type { Caller } from "./caller.ts";

interface Entry {
  readonly hash: Buffer;
  readonly caller: Caller;
}

/** The keys of a file. */
export class ApiKeys {
  readonly #entries: readonly Entry[];

  /** @throws ApiKeyFileError */
  constructor(text: string) {
    this.#entries = parseApiKeyFile(text).keys.flatMap((key) => {
      const caller = callerOf(key);
      return key.sha256.map((hex) => ({ hash: Buffer.from(hex, "hex"), caller }));
    });
  }

  /** Whose key it is; undefined = nobody's, or an expired one. Takes as long whichever key it is. */
  find(key: string, nowMs: number): Caller | undefined {
    const hash = hashApiKey(key);
    let found: Caller | undefined;
    for (const entry of this.#entries) {
      if (timingSafeEqual(entry.hash, hash)) found = entry.caller;
    }
    return found && found.expiresAtMs > nowMs ? found : undefined;
  }
}

function callerOf({ name, role, libraries, expires_at: expiresAt }: ApiKey): Caller {
  return {
    name,
    role,
    libraries,
    by: "api_key",
    client: `api_key ${name}`,
    expiresAtMs: expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(expiresAt),
  };
}

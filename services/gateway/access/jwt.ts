import { createHash, createPublicKey } from "node:crypto";
import { createLocalJWKSet, type JSONWebKeySet, type JWTPayload, jwtVerify } from "jose";
import { LRUCache } from "lru-cache";
import { z } from "zod";
import { ArrwError } from "../../../platform/errors.ts";
import { ROLES } from "../domain/principal.ts";
import type { Caller } from "./caller.ts";

/** Signatures that can be checked with a public key: neither none nor a shared secret. */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
const LEEWAY_S = 30;
const MAX_VERIFIED = 10_000;
/** A token is in the headers of a request, which are bounded; what is larger is none. */
const MAX_TOKEN_LENGTH = 8_192;

export interface JwtRules {
  /** "" = any. */
  readonly issuer: string;
  readonly audience: string;
}

const keySet = z.object({
  keys: z
    .array(z.looseObject({ kty: z.string() }))
    .min(1)
    .max(100),
});
const subject = z.string().min(1).max(200);
const role = z.enum(ROLES);
const libraries = z
  .array(z.string().regex(/^([A-Za-z0-9][A-Za-z0-9_.-]{0,127}\*?|\*)$/))
  .max(1_000)
  .optional();

/** JWTs that are signed with a key of a JSON Web Key Set. Each is verified once, and remembered until it expires. */
export class JwtVerifier {
  readonly #rules: JwtRules;
  readonly #keys: ReturnType<typeof createLocalJWKSet>;
  readonly #verified = new LRUCache<string, Caller>({ max: MAX_VERIFIED });

  /** @throws Error saying what is wrong with the key set */
  constructor(text: string, rules: JwtRules) {
    this.#rules = rules;
    this.#keys = createLocalJWKSet(parseKeySet(text));
  }

  /** Whose token it is if it was verified before. */
  known(token: string, nowMs: number): Caller | undefined {
    const caller = this.#verified.get(digestOf(token));
    return caller && caller.expiresAtMs > nowMs ? caller : undefined;
  }

  /**
   * Whose token it is; undefined = it is not valid.
   * @throws ArrwError PERMISSION_DENIED ROLE_MISSING, CLAIMS_INVALID: it is, but doesn't say what its bearer may do
   */
  async verify(token: string): Promise<Caller | undefined> {
    if (token.length > MAX_TOKEN_LENGTH) return undefined;
    const claims = await this.#claims(token);
    const name = subject.safeParse(claims?.sub);
    if (claims?.exp === undefined || !name.success) return undefined;
    const caller: Caller = {
      name: name.data,
      ...permissionsOf(claims),
      by: "jwt",
      client: `jwt ${name.data}`,
      expiresAtMs: (claims.exp + LEEWAY_S) * 1_000,
    };
    this.#verified.set(digestOf(token), caller);
    return caller;
  }

  async #claims(token: string): Promise<JWTPayload | undefined> {
    const { issuer, audience } = this.#rules;
    try {
      const { payload } = await jwtVerify(token, this.#keys, {
        algorithms: ALGORITHMS,
        audience,
        clockTolerance: LEEWAY_S,
        requiredClaims: ["sub", "exp"],
        ...(issuer === "" ? {} : { issuer }),
      });
      return payload;
    } catch {
      // Why is nobody's business but the issuer's: to who tries tokens it would be a hint.
      return undefined;
    }
  }
}

function permissionsOf(claims: JWTPayload): Pick<Caller, "role" | "libraries"> {
  const parsedRole = role.safeParse(claimOf(claims, "role"));
  if (!parsedRole.success) {
    throw new ArrwError(
      "PERMISSION_DENIED",
      `the token's claim arrw_role, or role, must be one of ${ROLES.join(", ")}`,
      { reason: "ROLE_MISSING" },
    );
  }
  const parsedLibraries = libraries.safeParse(claimOf(claims, "libraries"));
  // Read as "all" it would open what it was meant to close.
  if (!parsedLibraries.success) {
    throw new ArrwError(
      "PERMISSION_DENIED",
      "the token's claim arrw_libraries, or libraries, must be a list of ids of libraries, or of beginnings of ids with *",
      { reason: "CLAIMS_INVALID" },
    );
  }
  return { role: parsedRole.data, libraries: parsedLibraries.data };
}

/** Of arrw_... and the plain one the first that is there: null is there, and is no list that means all. */
function claimOf(claims: JWTPayload, name: "role" | "libraries"): unknown {
  const own = claims[`arrw_${name}`];
  return own === undefined ? claims[name] : own;
}

function parseKeySet(text: string): JSONWebKeySet {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error("it is no JSON");
  }
  const parsed = keySet.safeParse(json);
  if (!parsed.success) throw new Error('it is no JSON Web Key Set: {"keys": [...]} with 1..100 keys');
  for (const [at, key] of parsed.data.keys.entries()) {
    if (key.kty === "oct" || "d" in key)
      throw new Error(
        `keys[${at}] is secret: only public keys belong here, as whoever has this one can sign`,
      );
    try {
      createPublicKey({ key, format: "jwk" });
    } catch {
      throw new Error(`keys[${at}] can't be read as a public key`);
    }
  }
  return parsed.data;
}

function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("base64");
}

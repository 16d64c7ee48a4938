import { isApiKey } from "../../../platform/api-keys.ts";
import { ArrwError } from "../../../platform/errors.ts";
import type { CallContext } from "../../../platform/grpc/server.ts";
import { networkOf } from "../domain/network.ts";
import { Turns } from "../turns.ts";
import type { ApiKeys } from "./api-keys.ts";
import type { Caller } from "./caller.ts";
import type { JwtVerifier } from "./jwt.ts";
import { Failures, rateLimited } from "./limits.ts";

/** Tokens that are verified at a time: threads that do it are fewer, and of bad ones few more are looked at. */
const MAX_VERIFYING = 16;
/** More are refused. */
const MAX_WAITING = 1_000;
const WAITING_RETRY_MS = 100;

/** What of a call says who makes it. */
export type Credentials = Pick<CallContext, "peer" | "header">;

/** Where credentials are kept: their content now, and a number that changes with it. */
export interface Source<T> {
  readonly value: T;
  readonly version: number;
}

/** Tokens that were verified are known; new ones are to be. */
export type Tokens = Pick<JwtVerifier, "known" | "verify">;

/**
 * Who calls. With neither keys nor tokens configured it is whoever reaches the port, who may do everything: the address
 * is the name, or the subject of the verified client certificate.
 */
export class Authenticator {
  readonly #keys: Source<ApiKeys> | undefined;
  readonly #tokens: Source<Tokens> | undefined;
  readonly #failures: Failures;
  readonly #turns = new Turns(MAX_VERIFYING);
  /** By network and token: calls that come with the same one share what it costs. */
  readonly #verifying = new Map<string, Promise<Caller>>();

  constructor(
    keys: Source<ApiKeys> | undefined,
    tokens: Source<Tokens> | undefined,
    failures = new Failures(),
  ) {
    this.#keys = keys;
    this.#tokens = tokens;
    this.#failures = failures;
  }

  /** Does everybody have to show credentials? */
  get required(): boolean {
    return this.#keys !== undefined || this.#tokens !== undefined;
  }

  /** Another number after each change of the credentials that are accepted. */
  get version(): number {
    return (this.#keys?.version ?? 0) + (this.#tokens?.version ?? 0);
  }

  /**
   * A promise only when the signature of a token has to be verified.
   * @throws ArrwError UNAUTHENTICATED (CREDENTIALS_MISSING, CREDENTIALS_INVALID); PERMISSION_DENIED: the token is valid but
   * says nothing of what its bearer may do; RESOURCE_EXHAUSTED RATE_LIMITED: too many wrong ones from the address,
   * or too many new tokens at once
   */
  identify(call: Credentials): Caller | Promise<Caller> {
    if (!this.required) return callerWithout(call);
    const text = bearerOf(call);
    if (text === undefined) throw this.#refusal(call, "CREDENTIALS_MISSING");
    if (isApiKey(text)) {
      // Looked up even from an address that has failed often: its neighbours there are not to suffer, and it costs 2 us.
      const caller = this.#keys?.value.find(text, Date.now());
      if (caller === undefined) throw this.#refusal(call, "CREDENTIALS_INVALID");
      return caller;
    }
    if (this.#tokens === undefined) throw this.#refusal(call, "CREDENTIALS_INVALID");
    return this.#tokens.value.known(text, Date.now()) ?? this.#verified(this.#tokens, text, call);
  }

  #verified(tokens: Source<Tokens>, text: string, call: Credentials): Promise<Caller> {
    const network = networkOf(call.peer.address);
    this.#failures.check(network);
    const id = `${network} ${text}`;
    const shared = this.#verifying.get(id);
    if (shared) return shared;
    if (this.#turns.waiting >= MAX_WAITING)
      throw rateLimited("too many new tokens wait to be verified", WAITING_RETRY_MS);
    const verified = this.#turns
      .run(() => this.#verify(tokens, text, network))
      .finally(() => this.#verifying.delete(id));
    this.#verifying.set(id, verified);
    return verified;
  }

  async #verify(tokens: Source<Tokens>, text: string, network: string): Promise<Caller> {
    // Again: of a flood of bad ones those that waited are refused once the first were looked at.
    this.#failures.check(network);
    try {
      for (;;) {
        const { value, version } = tokens;
        const caller = await value.verify(text);
        // By keys that were replaced meanwhile: what they say counts no more.
        if (version !== tokens.version) continue;
        if (caller === undefined) throw unauthenticated("CREDENTIALS_INVALID");
        return caller;
      }
    } catch (error) {
      this.#failures.add(network);
      throw error;
    }
  }

  #refusal(call: Credentials, reason: "CREDENTIALS_MISSING" | "CREDENTIALS_INVALID"): ArrwError {
    const network = networkOf(call.peer.address);
    this.#failures.check(network);
    this.#failures.add(network);
    return unauthenticated(reason);
  }
}

/** One message for all: a hint at what is wrong would help who guesses. */
export function unauthenticated(reason: "CREDENTIALS_MISSING" | "CREDENTIALS_INVALID"): ArrwError {
  return new ArrwError(
    "UNAUTHENTICATED",
    "a valid API key or token is needed, in the header authorization: Bearer ...",
    { reason },
  );
}

function bearerOf(call: Credentials): string | undefined {
  const authorization = call.header("authorization");
  if (authorization === undefined) return call.header("x-api-key")?.trim() || undefined;
  // Another scheme holds no key, and is refused as a wrong one.
  return /^bearer +(\S+)\s*$/i.exec(authorization)?.[1] ?? "";
}

function callerWithout({ peer: { address, certificateSubject } }: Credentials): Caller {
  const rights = { role: "admin", libraries: undefined, expiresAtMs: Number.POSITIVE_INFINITY } as const;
  return certificateSubject === undefined
    ? { ...rights, name: address, by: "none", client: `none ${networkOf(address)}` }
    : { ...rights, name: certificateSubject, by: "certificate", client: `certificate ${certificateSubject}` };
}

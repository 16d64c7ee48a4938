import { setTimeout as delay } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { ArrwError, type ErrorCode, unavailable } from "../errors.ts";
import type { Logger } from "../log.ts";
import { complaintOf, messageOf, parsedJson, readVector, refusalOf } from "./answer.ts";
import type { ApiKey } from "./api-key.ts";
import { type CallLimiter, TooBusy } from "./call-limiter.ts";
import type { CallOutcome, EmbeddingMetrics } from "./embedding-metrics.ts";
import { AnswerTooLarge, NoAnswer, type PostAnswer, postJson } from "./post-json.ts";
import type { EmbeddingProtocol, EmbedRequest } from "./protocol.ts";
import { backoffMs, retryAfterMs } from "./retry-delay.ts";

/** How long one call is tried, from its begin. */
export interface Patience {
  /** While the provider is away: no connection, no answer, 5xx. */
  readonly unavailableMs: number;
  /** While it is asked too much: its own turn in this process included. */
  readonly rateLimitedMs: number;
  /** For one answer. */
  readonly timeoutMs: number;
}

export interface RemoteCallsOptions {
  readonly protocol: EmbeddingProtocol;
  readonly baseUrl: string;
  /** The setting of it, for errors. */
  readonly baseUrlSetting: string;
  readonly key: ApiKey;
  readonly limiter: CallLimiter;
  readonly patience: Patience;
  readonly metrics: EmbeddingMetrics | undefined;
  readonly log: Logger;
}

/** The provider takes the call, but not these texts, or not so many at a time. */
export class TextsRefused extends Error {
  /** It said that they are too long or too many; else it said something else. */
  readonly tooLarge: boolean;

  constructor(message: string, tooLarge: boolean) {
    super(message);
    this.tooLarge = tooLarge;
  }
}

export type EmbedCall = Omit<EmbedRequest, "without">;

/** What a try says: vectors, or to try once more after so long. */
type Tried = { readonly rows: Float32Array } | { readonly again: "now" | "later"; readonly error: ArrwError };

const BACKOFF = { firstMs: 250, maxMs: 10_000 };
const LONGEST_WAIT_MS = 60_000;
const WARN_EVERY_MS = 10_000;
/** Models whose parameters are remembered. */
const REMEMBERED_MODELS = 1_000;
/** A decimal number takes up to 25 characters. */
const BYTES_PER_VALUE = 32;
const ANSWER_BYTES = 1024 * 1024;
/** An answer with too many dimensions shall be read, so that the error can say how many they are. */
const LEAST_DIMENSIONS = 4_096;

/** Calls to one provider, each tried until it brings vectors, or an error that more tries don't help against. */
export class RemoteCalls {
  readonly #options: RemoteCallsOptions;
  /** Parameters that a model doesn't take. */
  readonly #without = new LRUCache<string, ReadonlySet<string>>({ max: REMEMBERED_MODELS });
  #warnedMs = Number.NEGATIVE_INFINITY;

  constructor(options: RemoteCallsOptions) {
    this.#options = options;
  }

  get protocol(): EmbeddingProtocol {
    return this.#options.protocol;
  }

  get metrics(): EmbeddingMetrics | undefined {
    return this.#options.metrics;
  }

  /**
   * texts.length x dimensions.
   * @param waiting ends waits between tries; what is under way goes on @throws TextsRefused, ArrwError, a signal's reason
   */
  async embed(call: EmbedCall, signal: AbortSignal, waiting = signal): Promise<Float32Array> {
    const { patience } = this.#options;
    let turnUntilMs = performance.now() + patience.rateLimitedMs;
    let failures = 0;
    let awayUntilMs: number | undefined;
    for (;;) {
      let beganMs = 0;
      const attempt = (): Promise<Tried> => {
        beganMs = performance.now();
        return this.#try(call, signal);
      };
      const tried = await this.#inTurn(attempt, waiting, Math.max(0, turnUntilMs - performance.now()));
      if ("rows" in tried) return tried.rows;
      if (tried.again === "now") continue;
      awayUntilMs ??= beganMs + patience.unavailableMs;
      const pauseMs = backoffMs(failures, BACKOFF, Math.random());
      const waitMs = Math.max(pauseMs, tried.error.retryAfterMs ?? 0);
      failures += 1;
      if (waitMs > LONGEST_WAIT_MS || performance.now() + waitMs >= awayUntilMs) throw tried.error;
      // Its end by the signal is told by the signal's own reason.
      await delay(waitMs, undefined, { signal: waiting }).catch(() => undefined);
      if (waiting.aborted) throw waiting.reason;
      turnUntilMs = performance.now() + patience.rateLimitedMs;
    }
  }

  async #inTurn(attempt: () => Promise<Tried>, signal: AbortSignal, maxWaitMs: number): Promise<Tried> {
    try {
      return await this.#options.limiter.run(attempt, signal, maxWaitMs);
    } catch (error) {
      throw error instanceof TooBusy ? this.#rateLimited(error.pausedMs) : error;
    }
  }

  async #try(call: EmbedCall, signal: AbortSignal): Promise<Tried> {
    const { metrics, protocol } = this.#options;
    const timed = metrics?.seconds.startTimer({ provider: protocol.name });
    const without = this.#withoutOf(call);
    try {
      const secret = await this.#secret();
      const answer = await this.#post({ ...call, without }, secret, signal);
      const good = answer.status >= 200 && answer.status < 300;
      return good
        ? this.#vectors(call, answer.text)
        : await this.#refusal({ ...call, without }, answer, secret);
    } catch (error) {
      if (error instanceof NoAnswer) {
        this.#count("unavailable");
        return { again: "later", error: this.#away(error.message, undefined) };
      }
      if (error instanceof AnswerTooLarge) throw this.#invalid(error.message);
      throw error;
    } finally {
      timed?.();
    }
  }

  /** A key that can't be read or used is told as one that the provider refuses. @throws ArrwError */
  async #secret(): Promise<string> {
    try {
      return await this.#options.key.get();
    } catch (error) {
      this.#count("unauthorized");
      throw error;
    }
  }

  #post(call: EmbedRequest, secret: string, signal: AbortSignal): Promise<PostAnswer> {
    const { protocol, baseUrl, patience } = this.#options;
    const values = call.texts.length * Math.max(LEAST_DIMENSIONS, call.dimensions);
    return postJson({
      url: protocol.url(baseUrl),
      headers: secret === "" ? {} : { authorization: `Bearer ${secret}` },
      body: protocol.body(call),
      timeoutMs: patience.timeoutMs,
      maxBytes: ANSWER_BYTES + values * BYTES_PER_VALUE,
      signal,
    });
  }

  #vectors({ texts, dimensions }: EmbedCall, text: string): Tried {
    const parsed = parsedJson(text);
    if (parsed === undefined) {
      // Some servers write NaN into their JSON; the same texts would give the same.
      if (/\b(NaN|Infinity)\b/.test(text)) throw this.#invalid("a vector has values that are not finite");
      this.#count("invalid");
      return { again: "later", error: this.#away("its answer is not whole", undefined) };
    }
    const vectors = this.#options.protocol.vectors(parsed);
    if (!vectors) throw this.#invalid("its answer has no vectors where they should be");
    if (vectors.length !== texts.length) {
      throw this.#invalid(`it gave ${vectors.length} vectors for ${texts.length} texts`);
    }
    const rows = new Float32Array(texts.length * dimensions);
    for (const [n, vector] of vectors.entries()) {
      const fault = readVector(vector, rows.subarray(n * dimensions, (n + 1) * dimensions));
      if (fault !== undefined) throw this.#invalid(fault);
    }
    this.#options.limiter.succeeded();
    this.#count("ok");
    return { rows };
  }

  async #refusal(call: EmbedRequest, answer: PostAnswer, secret: string): Promise<Tried> {
    const { key, protocol, baseUrlSetting } = this.#options;
    const { status } = answer;
    const complaint = complaintOf(answer.text, secret);
    const said = `HTTP ${status}${complaint === "" ? "" : `: ${complaint}`}`;
    const asked = retryAfterMs(answer.retryAfter, Date.now());
    const refusal = refusalOf(status, answer.text);
    switch (refusal) {
      case "rate limited":
        this.#count("rate_limited");
        this.#slowDown(asked);
        return { again: "now", error: this.#rateLimited(0) };
      case "unavailable":
        this.#count("unavailable");
        return { again: "later", error: this.#away(said, asked) };
      case "unauthorized":
        this.#count("unauthorized");
        if (await key.renew(secret)) return { again: "now", error: this.#away(said, undefined) };
        // What it says may repeat a part of the key.
        throw key.unauthorized(`${protocol.name} refused the key (HTTP ${status})`);
      case "too large":
      case "bad request":
        this.#count("refused");
        if (this.#leaveOut(call, messageOf(answer.text)))
          return { again: "now", error: this.#away(said, undefined) };
        throw new TextsRefused(said, refusal === "too large");
      case "no quota":
        this.#count("refused");
        throw this.#error("FAILED_PRECONDITION", "EMBEDDING_QUOTA_EXCEEDED", `has no quota left (${said})`);
      case "not found": {
        this.#count("refused");
        const where = `does not know model ${JSON.stringify(call.model)}, or ${baseUrlSetting} leads elsewhere`;
        throw this.#error("FAILED_PRECONDITION", "EMBEDDING_MODEL_NOT_FOUND", `${where} (${said})`);
      }
      case "unusable":
        this.#count("refused");
        throw this.#error(
          "FAILED_PRECONDITION",
          "EMBEDDING_REFUSED",
          `answered ${said}; see ${baseUrlSetting}`,
        );
    }
  }

  #slowDown(askedMs: number | undefined): void {
    const { limiter, log, metrics, protocol } = this.#options;
    const waitMs = Math.round(limiter.refused(askedMs));
    metrics?.waits.inc({ provider: protocol.name });
    const nowMs = performance.now();
    if (nowMs < this.#warnedMs + WARN_EVERY_MS) return;
    this.#warnedMs = nowMs;
    log.warn({ provider: protocol.name, wait_ms: waitMs, calls: limiter.allowed }, "asked to slow down");
  }

  /** @returns whether the complaint is about a parameter that the call had and can do without */
  #leaveOut(call: EmbedRequest, complaint: string): boolean {
    const culprit = this.protocol.optional.find((each) => each.complaint.test(complaint));
    if (!culprit || call.without.has(culprit.name)) return false;
    this.#without.set(modelOf(call), new Set([...this.#withoutOf(call), culprit.name]));
    return true;
  }

  #withoutOf(call: EmbedCall): ReadonlySet<string> {
    return this.#without.get(modelOf(call)) ?? new Set();
  }

  #count(outcome: CallOutcome): void {
    this.metrics?.calls.inc({ provider: this.protocol.name, outcome });
  }

  #error(code: ErrorCode, reason: string, what: string): ArrwError {
    return new ArrwError(code, `${this.protocol.name} ${what}`, { reason });
  }

  #invalid(why: string): ArrwError {
    this.#count("invalid");
    return this.#error("FAILED_PRECONDITION", "EMBEDDING_INVALID", `gave what can't be used: ${why}`);
  }

  #away(why: string, retryAfter: number | undefined): ArrwError {
    return unavailable(`${this.protocol.name} does not answer: ${why}`, {
      reason: "EMBEDDING_UNAVAILABLE",
      ...(retryAfter === undefined ? {} : { retryAfterMs: retryAfter }),
    });
  }

  #rateLimited(pausedMs: number): ArrwError {
    const seconds = Math.ceil(pausedMs / 1_000);
    const until = seconds > 0 ? ` for the next ${seconds} s` : "";
    return new ArrwError("RESOURCE_EXHAUSTED", `${this.protocol.name} takes no more calls${until}`, {
      reason: "EMBEDDING_RATE_LIMITED",
      retryAfterMs: Math.max(1_000, Math.ceil(pausedMs)),
    });
  }
}

/** What takes dimensions or not is a model; which it takes may depend on how many. */
function modelOf({ model, dimensions }: EmbedCall): string {
  return JSON.stringify([model, dimensions]);
}

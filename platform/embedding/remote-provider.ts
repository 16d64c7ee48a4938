import { setMaxListeners } from "node:events";
import { ArrwError } from "../errors.ts";
import { callBatches } from "./call-batches.ts";
import { embeddingId } from "./embedding-id.ts";
import type { EmbeddedTexts, EmbeddingProvider, EmbeddingPurpose } from "./provider.ts";
import { type RemoteCalls, TextsRefused } from "./remote-calls.ts";
import type { VectorMemory } from "./vector-memory.ts";

export interface RemoteProviderOptions {
  readonly calls: RemoteCalls;
  readonly model: string;
  readonly dimensions: number;
  readonly memory: VectorMemory;
  /** Texts in a call at most. */
  readonly batchTexts: number;
}

/** Below the 300,000 tokens that OpenAI takes in a call, even where each byte is a token. */
const MAX_CALL_BYTES = 256 * 1024;
/** A text that every model takes. */
const PROBE = "test";

/** One embedding run. */
interface Run {
  readonly texts: readonly string[];
  readonly keys: readonly string[];
  readonly purpose: EmbeddingPurpose;
  /** Ends its calls when the caller's signal does. */
  readonly signal: AbortSignal;
  readonly rows: Float32Array;
  readonly refused: Map<number, string>;
  /** Aborted when a call has failed: no other begins. */
  readonly waiting: AbortController;
}

/** A model of a provider that is asked over HTTP. Rows are as the provider gives them, normalised or not. */
export class RemoteProvider implements EmbeddingProvider {
  readonly paid = true;
  readonly dimensions: number;
  readonly #options: RemoteProviderOptions;
  readonly #embedding: string;
  /** Less than the setting where the server has turned out to take less. */
  #maxTexts: number;

  constructor(options: RemoteProviderOptions) {
    const { calls, model, dimensions, batchTexts } = options;
    this.dimensions = dimensions;
    this.#options = options;
    this.#embedding = embeddingId({ provider: calls.protocol.name, model, dimensions });
    this.#maxTexts = Math.min(batchTexts, calls.protocol.maxTexts);
  }

  async embed(
    texts: readonly string[],
    signal: AbortSignal,
    purpose: EmbeddingPurpose = "document",
  ): Promise<Float32Array> {
    const { rows, refused } = await this.embedEach(texts, signal, purpose);
    const [first] = refused;
    if (!first) return rows;
    const [place, why] = first;
    throw new ArrwError("INVALID_ARGUMENT", `text ${place} can't be embedded: ${why}`, {
      reason: "EMBEDDING_INPUT_REFUSED",
      metadata: { text: String(place) },
    });
  }

  async embedEach(
    texts: readonly string[],
    signal: AbortSignal,
    purpose: EmbeddingPurpose = "document",
  ): Promise<EmbeddedTexts> {
    const { memory } = this.#options;
    const keys = texts.map((text) => memory.key(`${this.#embedding} ${purpose} `, text));
    const rows = new Float32Array(texts.length * this.dimensions);
    const refused = new Map<number, string>();
    const firsts = new Map<string, number>();
    const asked: number[] = [];
    for (const [place, key] of keys.entries()) {
      if (firsts.has(key)) continue;
      firsts.set(key, place);
      const known = memory.get(key);
      if (known) rows.set(known, place * this.dimensions);
      else asked.push(place);
    }
    await linked(signal, async (calls, waiting) => {
      const run: Run = { texts, keys, purpose, signal: calls, rows, refused, waiting };
      await this.#ask(asked, run);
      await this.#assertSomeTaken(asked, run);
      this.#repeat(firsts, run);
    });
    const { metrics, protocol } = this.#options.calls;
    const provider = protocol.name;
    metrics?.texts.inc({ provider, source: "memory" }, firsts.size - asked.length);
    metrics?.texts.inc({ provider, source: "repeated" }, texts.length - firsts.size);
    // In the order of the texts, whichever call ended first.
    const inOrder = [...refused].sort(([a], [b]) => a - b);
    return {
      rows,
      refused: new Map(inOrder.map(([place, why]) => [place, `${provider} refused it: ${why}`])),
    };
  }

  /** All calls have ended when this returns: what was paid for is remembered, also when another call failed. */
  async #ask(places: readonly number[], run: Run): Promise<void> {
    const texts = places.map((place) => run.texts[place] ?? "");
    const bounds = { maxTexts: this.#maxTexts, maxBytes: MAX_CALL_BYTES };
    const batches = callBatches(texts, bounds).map((batch) => batch.map((n) => places[n] ?? 0));
    const ended = await Promise.allSettled(
      batches.map((batch) =>
        this.#askSome(batch, run).catch((error: unknown) => {
          run.waiting.abort(NOT_BEGUN);
          throw error;
        }),
      ),
    );
    if (run.signal.aborted) throw run.signal.reason;
    const failures = ended.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
    const first = failures.find((failure) => failure !== NOT_BEGUN);
    if (first !== undefined) throw first;
  }

  /** Asks for all, or by halves when the provider refuses them: so the text that it can't take is found. */
  async #askSome(places: readonly number[], run: Run): Promise<void> {
    const refusal = await this.#call(places, run);
    if (!refusal) return;
    const [place] = places;
    if (!refusal.tooLarge) await this.#assertUsable(refusal.message, run);
    if (places.length === 1 && place !== undefined) {
      run.refused.set(place, refusal.message);
      return;
    }
    const before = run.refused.size;
    const middle = Math.ceil(places.length / 2);
    await this.#askSome(places.slice(0, middle), run);
    await this.#askSome(places.slice(middle), run);
    // Each text alone is fine: the call had too many of them.
    if (run.refused.size === before) this.#maxTexts = Math.min(this.#maxTexts, middle);
  }

  async #call(places: readonly number[], run: Run): Promise<TextsRefused | undefined> {
    const { calls, model, memory } = this.#options;
    const { dimensions } = this;
    const texts = places.map((place) => run.texts[place] ?? "");
    try {
      const request = { texts, purpose: run.purpose, model, dimensions };
      const vectors = await calls.embed(request, run.signal, run.waiting.signal);
      calls.metrics?.texts.inc({ provider: calls.protocol.name, source: "provider" }, places.length);
      for (const [n, place] of places.entries()) {
        const row = vectors.subarray(n * dimensions, (n + 1) * dimensions);
        run.rows.set(row, place * dimensions);
        memory.set(run.keys[place] ?? "", row);
      }
      return undefined;
    } catch (error) {
      if (error instanceof TextsRefused) return error;
      throw error;
    }
  }

  /**
   * A complaint that isn't about length may be about the model or a setting: then no text is taken, and the job must
   * say so instead of refusing its documents one by one.
   */
  async #assertUsable(reason: string, run: Run): Promise<void> {
    const { calls, model } = this.#options;
    try {
      const request = { texts: [PROBE], purpose: run.purpose, model, dimensions: this.dimensions };
      await calls.embed(request, run.signal);
    } catch (error) {
      if (!(error instanceof TextsRefused)) throw error;
      const message = `${calls.protocol.name} refuses every text: ${reason}`;
      throw new ArrwError("FAILED_PRECONDITION", message, { reason: "EMBEDDING_REFUSED" });
    }
  }

  /** Where all texts are too long it may be something else that the complaint is about. */
  async #assertSomeTaken(asked: readonly number[], run: Run): Promise<void> {
    const reason = asked.length > 0 && run.refused.size === asked.length && run.refused.get(asked[0] ?? 0);
    if (reason) await this.#assertUsable(reason, run);
  }

  #repeat(firsts: ReadonlyMap<string, number>, { keys, rows, refused }: Run): void {
    const { dimensions } = this;
    for (const [place, key] of keys.entries()) {
      const first = firsts.get(key) ?? place;
      if (first === place) continue;
      rows.copyWithin(place * dimensions, first * dimensions, (first + 1) * dimensions);
      const reason = refused.get(first);
      if (reason !== undefined) refused.set(place, reason);
    }
  }
}

/** Why a call was not made: another one of its run had failed. */
const NOT_BEGUN = new Error("another call failed");

/** Runs with signals of its own that follow the caller's: that one gets one listener, however many calls there are. */
async function linked(
  signal: AbortSignal,
  run: (calls: AbortSignal, waiting: AbortController) => Promise<void>,
): Promise<void> {
  const calls = new AbortController();
  const waiting = new AbortController();
  setMaxListeners(0, calls.signal, waiting.signal);
  const onAbort = (): void => {
    waiting.abort(signal.reason);
    calls.abort(signal.reason);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    await run(calls.signal, waiting);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

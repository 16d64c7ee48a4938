import { setTimeout as delay } from "node:timers/promises";

/**
 * Which scheduler leads. All calls of the process share what is found: a round asks every known scheduler at once,
 * and rounds keep a distance, however many calls wait for one.
 */

/** What a scheduler says of itself. */
export type Answer =
  | { readonly kind: "leads" }
  /** It follows; `leader` is whom, undefined = it knows of none and answers reads by itself. */
  | { readonly kind: "follows"; readonly leader: string | undefined }
  /** It can't be reached, or can't answer now. */
  | { readonly kind: "silent"; readonly error: unknown };

export interface Round {
  readonly leader: string | undefined;
  /** Those that follow nobody: they answer reads as of what they have. */
  readonly readers: readonly string[];
  /** Those that answered at all. */
  readonly alive: ReadonlySet<string>;
}

export interface LeaderFinderOptions {
  /** Where schedulers may be. */
  readonly addresses: readonly string[];
  /** Asks one; never throws, and ends by itself. */
  readonly ask: (address: string) => Promise<Answer>;
}

/** A round does not wait longer for those that are silent; their answers count in the next one. */
const ROUND_MS = 150;
/** From the start of a round to the next one's, give or take a quarter. */
const DISTANCE_MS = 100;

export class LeaderFinder {
  readonly #options: LeaderFinderOptions;
  readonly #asked = new Map<string, Promise<Answer>>();
  #leader: string | undefined;
  #round: Promise<Round> | undefined;
  #nextAtMs = 0;
  /** Why the last scheduler that was silent was. */
  #error: unknown;

  constructor(options: LeaderFinderOptions) {
    this.#options = options;
  }

  /** The one that leads, as far as is known. */
  get leader(): string | undefined {
    return this.#leader;
  }

  get error(): unknown {
    return this.#error;
  }

  /** This one did not answer as a leader does. */
  lost(address: string): void {
    if (this.#leader === address) this.#leader = undefined;
  }

  /** Asks all; who calls while one is under way or about to begin gets the same. Takes at most 0.3 s. */
  round(): Promise<Round> {
    this.#round ??= this.#begin().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #begin(): Promise<Round> {
    const waitMs = this.#nextAtMs - performance.now();
    if (waitMs > 0) await delay(waitMs);
    this.#nextAtMs = performance.now() + DISTANCE_MS * (0.75 + Math.random() / 2);
    return this.#askAll();
  }

  #askAll(): Promise<Round> {
    const readers: string[] = [];
    const alive = new Set<string>();
    const asked = new Set<string>();
    return new Promise((resolve) => {
      let open = 0;
      const timer = setTimeout(() => end(undefined), ROUND_MS);
      const end = (leader: string | undefined): void => {
        clearTimeout(timer);
        if (leader !== undefined) this.#leader = leader;
        resolve({ leader, readers, alive });
      };
      const ask = (address: string): void => {
        // Each once: two that name each other are no reason to go in circles.
        if (asked.has(address)) return;
        asked.add(address);
        open += 1;
        void this.#ask(address).then((answer) => {
          open -= 1;
          if (answer.kind !== "silent") alive.add(address);
          if (answer.kind === "leads") return end(address);
          if (answer.kind === "follows") {
            if (answer.leader === undefined) readers.push(address);
            else ask(answer.leader);
          }
          if (open === 0) end(undefined);
        });
      };
      for (const address of this.#options.addresses) ask(address);
    });
  }

  /** One question at a time to each: a frozen process is not asked again and again. */
  #ask(address: string): Promise<Answer> {
    let asking = this.#asked.get(address);
    if (!asking) {
      asking = this.#options.ask(address).then((answer) => {
        this.#asked.delete(address);
        if (answer.kind === "silent") this.#error = answer.error;
        return answer;
      });
      this.#asked.set(address, asking);
    }
    return asking;
  }
}

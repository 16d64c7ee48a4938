import { Stream as Name, Subject } from "../../platform/nats/names.ts";
import type { Host } from "./host.ts";
import { Stream } from "./stream.ts";

export interface Subscription {
  readonly host: Host;
  readonly isReachable: () => boolean;
  readonly deliver: (data: Uint8Array, respond: (data: Uint8Array) => void) => void;
}

export type StreamName = typeof Name.journal | typeof Name.outcomes;

interface KeyEntry {
  readonly value: string;
  readonly revision: number;
  readonly expiresAtMs: number;
}

/** The simulated nats-server: streams, who subscribes to what, the bucket with the leader's key. */
export class Server {
  readonly journal: Stream;
  readonly outcomes: Stream;
  readonly #subscriptions = new Map<string, Set<Subscription>>();
  readonly #faults: Record<StreamName, ("lost" | "reply lost")[]> = { JOURNAL: [], OUTCOMES: [] };
  #revision = 0;
  #key: KeyEntry | undefined;

  constructor(
    onJournal: (sequence: number, data: Uint8Array) => void,
    onOutcomes: (sequence: number, data: Uint8Array) => void,
    ignoreExpected = false,
  ) {
    this.journal = new Stream(Subject.journal, onJournal, ignoreExpected);
    this.outcomes = new Stream(Subject.outcomes, onOutcomes, false);
  }

  stream(name: string): Stream {
    return name === Name.journal ? this.journal : this.outcomes;
  }

  streamOf(subject: string): { readonly name: StreamName; readonly stream: Stream } {
    return subject === Subject.journal
      ? { name: Name.journal, stream: this.journal }
      : { name: Name.outcomes, stream: this.outcomes };
  }

  /** What happens to the next append to a stream. */
  plan(name: StreamName, fault: "lost" | "reply lost"): void {
    this.#faults[name].push(fault);
  }

  takeFault(name: StreamName): "lost" | "reply lost" | undefined {
    return this.#faults[name].shift();
  }

  forgetFaults(): void {
    this.#faults.JOURNAL = [];
    this.#faults.OUTCOMES = [];
  }

  subscribe(subject: string, subscription: Subscription): () => void {
    let all = this.#subscriptions.get(subject);
    if (!all) {
      all = new Set();
      this.#subscriptions.set(subject, all);
    }
    all.add(subscription);
    return () => all.delete(subscription);
  }

  subscribers(subject: string): Iterable<Subscription> {
    return this.#subscriptions.get(subject) ?? [];
  }

  key(nowMs: number): KeyEntry | undefined {
    return this.#key && this.#key.expiresAtMs > nowMs ? this.#key : undefined;
  }

  putKey(value: string, expiresAtMs: number): number {
    this.#revision += 1;
    this.#key = { value, revision: this.#revision, expiresAtMs };
    return this.#revision;
  }

  /** Also how two schedulers come to believe at the same time that they lead. */
  removeKey(): void {
    this.#key = undefined;
  }
}

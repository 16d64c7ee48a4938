import type { StreamMessage } from "../../platform/nats/tail.ts";
import type { Link } from "./link.ts";
import type { Stream } from "./stream.ts";

/** A consumer of a stream: messages in order, a while after they were stored. */
export class Reading {
  readonly #link: Link;
  readonly #stream: Stream;
  readonly #onMessage: (message: StreamMessage) => void;
  #next: number;
  #onWay = false;
  #stopped = false;
  #forget: () => void = () => undefined;

  constructor(link: Link, stream: Stream, fromSequence: number, onMessage: (message: StreamMessage) => void) {
    this.#link = link;
    this.#stream = stream;
    this.#next = Math.max(1, fromSequence);
    this.#onMessage = onMessage;
  }

  start(): void {
    if (this.#stopped) return;
    this.#forget = this.#stream.onAppended(() => this.wake());
    this.wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#forget();
  }

  /** Something may be there to deliver. */
  wake(): void {
    if (this.#stopped || this.#onWay || this.#next > this.#stream.last) return;
    this.#onWay = true;
    const { host } = this.#link;
    host.timeline.at(host.timeline.now + host.random.latency(), () => {
      if (this.#link.reachable) host.io(() => this.#deliver());
      else this.#onWay = false;
    });
  }

  /** All that is there: a client gets many messages in one turn. */
  #deliver(): void {
    this.#onWay = false;
    const { last, first, subject } = this.#stream;
    this.#next = Math.max(this.#next, first);
    while (this.#next <= last && !this.#stopped) {
      const sequence = this.#next;
      this.#next += 1;
      const data = this.#stream.get(sequence);
      if (data) this.#onMessage({ sequence, subject, data, pending: last - sequence });
    }
    this.wake();
  }
}

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { Lane, type LaneState } from "./lane.ts";
import { FrameReader } from "./nats-frames.ts";

export interface LinkOptions {
  /** Which process's connection, and to whom: "worker-1 > index". */
  readonly name: string;
  /** Port that new connections are handed to; undefined = nobody is there. */
  readonly target: () => number | undefined;
  /** It carries NATS: publications can be repeated and looked at. */
  readonly nats?: boolean;
  /** Called for every publication that goes from the process to NATS. */
  readonly onPublication?: (subject: string, payload: Buffer) => void;
}

export interface Repeating {
  readonly subject: RegExp;
  /** The copy is sent so long after the original; 0 = right behind it. */
  readonly laterMs: number;
}

interface LinkState {
  readonly cut: boolean;
  readonly heldUp: boolean;
  readonly heldDown: boolean;
  readonly delayMs: number;
}

const OPEN: LinkState = { cut: false, heldUp: false, heldDown: false, delayMs: 0 };

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  readonly up: Lane;
  readonly down: Lane;
}

/** A process's way to another one: a TCP proxy that can be cut, held, slowed down, and made to repeat publications. */
export class Link {
  readonly name: string;
  readonly #options: LinkOptions;
  readonly #pairs = new Set<Pair>();
  readonly #copies = new Set<NodeJS.Timeout>();
  readonly #server: Server;
  #state: LinkState = OPEN;
  #repeating: Repeating | undefined;
  /** Publications sent twice so far. */
  repeated = 0;

  constructor(options: LinkOptions) {
    this.name = options.name;
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Bytes held back on the way from the process. */
  get heldBytes(): number {
    return [...this.#pairs].reduce((sum, { up }) => sum + up.queuedBytes, 0);
  }

  async start(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
  }

  async stop(): Promise<void> {
    for (const timer of this.#copies) clearTimeout(timer);
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.reset();
    await closed;
  }

  /** All connections break, and no new one comes until `heal`. */
  cut(): void {
    this.#set({ ...this.#state, cut: true });
    this.reset();
  }

  /** Nothing gets through, or nothing that the process sends, and nobody is told: it comes later, when healed. */
  hold(way: "both" | "up" = "both"): void {
    this.#set({ ...this.#state, heldUp: true, heldDown: way === "both" });
  }

  delay(delayMs: number): void {
    this.#set({ ...this.#state, delayMs });
  }

  repeat(repeating: Repeating | undefined): void {
    this.#repeating = repeating;
  }

  heal(): void {
    this.#repeating = undefined;
    this.#set(OPEN);
  }

  /** All connections break; new ones may be made at once. */
  reset(): void {
    for (const { client, server, up, down } of this.#pairs) {
      up.close();
      down.close();
      client.destroy();
      server.destroy();
    }
    this.#pairs.clear();
  }

  #set(state: LinkState): void {
    this.#state = state;
    for (const { up, down } of this.#pairs) {
      up.pump();
      down.pump();
    }
  }

  #accept(client: Socket): void {
    client.on("error", () => undefined);
    const port = this.#options.target();
    if (this.#state.cut || port === undefined) {
      client.destroy();
      return;
    }
    const server = connect({ host: "127.0.0.1", port });
    client.setNoDelay(true);
    server.setNoDelay(true);
    const upState = (): LaneState => ({ held: this.#state.heldUp, delayMs: this.#state.delayMs });
    const downState = (): LaneState => ({ held: this.#state.heldDown, delayMs: this.#state.delayMs });
    const pair: Pair = {
      client,
      server,
      up: new Lane(
        client,
        server,
        upState,
        this.#upward(() => pair),
      ),
      down: new Lane(server, client, downState, (chunk) => [chunk]),
    };
    this.#pairs.add(pair);
    // A server that is not there or has died shows as a broken connection at once.
    server.on("error", () => client.destroy());
    for (const socket of [client, server]) {
      socket.on("close", () => {
        if (client.destroyed && server.destroyed) this.#pairs.delete(pair);
      });
    }
  }

  #upward(pair: () => Pair): (chunk: Buffer) => Buffer[] {
    const { nats, onPublication } = this.#options;
    if (!nats) return (chunk) => [chunk];
    const reader = new FrameReader();
    return (chunk) =>
      reader.push(chunk).flatMap(({ bytes, subject, payload }) => {
        if (subject === undefined || !payload) return [bytes];
        onPublication?.(subject, payload);
        return this.#copiesOf(subject, bytes, pair());
      });
  }

  #copiesOf(subject: string, bytes: Buffer, pair: Pair): Buffer[] {
    const repeating = this.#repeating;
    if (!repeating?.subject.test(subject)) return [bytes];
    this.repeated += 1;
    if (repeating.laterMs === 0) return [bytes, bytes];
    const timer = setTimeout(() => {
      this.#copies.delete(timer);
      // The connection may be another one by then, as with a router that has kept a packet.
      const open = this.#pairs.has(pair) ? pair : [...this.#pairs].at(-1);
      open?.up.inject(bytes);
    }, repeating.laterMs);
    this.#copies.add(timer);
    return [bytes];
  }
}

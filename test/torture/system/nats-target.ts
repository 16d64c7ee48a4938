import type { TestNats } from "../../support/nats.ts";

/** nats-server as a process that the test kills, freezes and starts again. */
export class NatsTarget {
  readonly name = "nats";
  readonly #server: TestNats;
  #ready = true;

  constructor(server: TestNats) {
    this.#server = server;
  }

  get isReady(): boolean {
    return this.#ready;
  }

  async start(): Promise<void> {
    await this.#server.restart();
    this.#ready = true;
  }

  async kill(): Promise<void> {
    this.#ready = false;
    await this.#server.kill();
  }

  freeze(): void {
    process.kill(this.#server.pid, "SIGSTOP");
  }

  thaw(): void {
    if (this.#ready) process.kill(this.#server.pid, "SIGCONT");
  }

  async stop(): Promise<void> {
    this.thaw();
    await this.#server.stop();
  }
}

import type { Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/log.ts";
import { Stream } from "../../platform/nats/names.ts";
import type { Bus, Reader } from "./bus.ts";
import type { Store } from "./jobs.ts";
import { Projection } from "./projection.ts";
import { readJournal } from "./takeover.ts";

export interface FollowerOptions {
  readonly nats: Bus;
  readonly clock: Clock;
  readonly log: Logger;
  /** Opens the local store; after one was destroyed, an empty one. */
  readonly openStore: () => Store;
  /** It can't go on: everything in memory is to be thrown away. */
  readonly onFailed: (error: Error) => void;
  /** Ends the start. */
  readonly signal: AbortSignal;
}

/** A standby: reads the journal as it grows, so that it can lead, or answer reads, at any moment. */
export class Follower {
  readonly projection: Projection;
  readonly #tail: Reader;

  /** Opens the store, reads the journal to its end, and follows it from there. @throws when that fails */
  static async start(options: FollowerOptions): Promise<Follower> {
    const { nats, clock, log, openStore, onFailed, signal } = options;
    const startedAtMs = clock.monotonic();
    const projection = await Projection.open(nats, clock, log, openStore, signal);
    try {
      projection.start(onFailed);
      await readJournal(nats, projection, signal);
      const follower = new Follower(nats, projection, onFailed);
      await follower.#tail.start().catch(async (error: unknown) => {
        await follower.#tail.stop();
        throw error;
      });
      const ms = Math.round(clock.monotonic() - startedAtMs);
      const { sequence } = projection.position;
      log.info({ sequence, active_jobs: projection.table.active, ms }, "following the journal");
      return follower;
    } catch (error) {
      await projection.close();
      throw error;
    }
  }

  constructor(nats: Pick<Bus, "tail">, projection: Projection, onFailed: (error: Error) => void) {
    this.projection = projection;
    let failed = false;
    this.#tail = nats.tail({
      stream: Stream.journal,
      fromSequence: projection.position.sequence + 1,
      onMessage: (message) => {
        if (failed) return;
        try {
          projection.follow(message);
        } catch (error) {
          failed = true;
          onFailed(error instanceof Error ? error : new Error(String(error)));
        }
      },
    });
  }

  /** Stops reading and hands over what was read. */
  async handOver(): Promise<Projection> {
    await this.#tail.stop();
    return this.projection;
  }

  /** What was read is stored, so that the next start need not read it again. */
  async stop(): Promise<void> {
    await this.#tail.stop();
    await this.projection.flush().catch(() => undefined);
    await this.projection.close();
  }
}

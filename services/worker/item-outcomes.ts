import { setTimeout as delay } from "node:timers/promises";
import { ArrwError, unavailable } from "../../platform/errors.ts";
import {
  boundedItem,
  type ItemsNats,
  itemsOf,
  itemsParts,
  partOf,
  readItemsPart,
  removeItems,
  writeItemsPart,
} from "../../platform/nats/job-items.ts";
import type { JobError } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { StoredItem } from "../../proto/gen/arrwdb/worker/v1/items.ts";
import { whileUnavailable } from "./retry.ts";

/** What became of one item. */
export interface ItemOutcome {
  /** Position in the input, from 0. */
  readonly ordinal: number;
  readonly documentId: string;
  readonly title: string;
  /** "" = it is being worked on: known to the next attempt, not shown to clients. */
  readonly outcome: "ok" | "failed" | "";
  /** Of a failed one. */
  readonly error: JobError | undefined;
  /** Chunks that it has in the library. */
  readonly chunks: number;
  /** The library it was found in, of a job that has several. */
  readonly libraryId?: string;
}

export interface ItemOutcomesOptions {
  readonly nats: ItemsNats;
  readonly jobId: string;
  readonly lease: bigint;
  readonly signal: AbortSignal;
}

/** Sums over all items whose outcome is known. */
export interface ItemTotals {
  readonly ok: number;
  readonly failed: number;
  readonly chunks: number;
}

interface Part {
  sequence: number;
  readonly items: Map<number, StoredItem>;
}

/** NATS may be restarting. */
const STORE_FOR_MS = 20_000;
/** A replica that lags behind is read a few times before it shows what made a write fail. */
const MAX_CONFLICTS = 20;
const CONFLICT_PAUSE_MS = 50;
const PARTS_KEPT = 16;

/**
 * Keeps what became of a job's items, for ListJobItems and for runs of the failed ones. Stored before the checkpoint that
 * counts them: a batch that is repeated after a crash finds its items and replaces them. Items are put in order or where
 * some are already.
 */
export class ItemOutcomes {
  readonly #options: ItemOutcomesOptions;
  /** The newest last. */
  readonly #parts = new Map<number, Part>();

  constructor(options: ItemOutcomesOptions) {
    this.#options = options;
  }

  /** For a job that begins anew. @throws ArrwError UNAVAILABLE */
  async clear(): Promise<void> {
    const { nats, jobId } = this.#options;
    this.#parts.clear();
    await this.#stored(() => removeItems(nats, jobId));
  }

  /** @throws ArrwError UNAVAILABLE */
  async totals(): Promise<ItemTotals> {
    const { nats, jobId } = this.#options;
    return this.#stored(async () => {
      let [ok, failed, chunks] = [0, 0, 0];
      for await (const { part } of itemsParts(nats, jobId, 0)) {
        ok += part.ok;
        failed += part.failed;
        chunks += Number(part.chunks);
      }
      return { ok, failed, chunks };
    });
  }

  /** @throws ArrwError UNAVAILABLE, LEASE_FENCED */
  async hasFailed(ordinal: number): Promise<boolean> {
    return (await this.get(ordinal))?.item?.outcome === "failed";
  }

  /** What is known of an item; undefined = nothing. @throws ArrwError UNAVAILABLE, LEASE_FENCED */
  async get(ordinal: number): Promise<StoredItem | undefined> {
    const part = this.#parts.get(partOf(ordinal)) ?? (await this.#stored(() => this.#load(partOf(ordinal))));
    return part.items.get(ordinal);
  }

  /** Durable when it returns. @throws ArrwError UNAVAILABLE, RESOURCE_EXHAUSTED, LEASE_FENCED */
  async put(outcomes: readonly ItemOutcome[]): Promise<void> {
    const byPart = new Map<number, StoredItem[]>();
    for (const each of outcomes) {
      const part = partOf(each.ordinal);
      const items = byPart.get(part);
      if (items) items.push(storedItem(each));
      else byPart.set(part, [storedItem(each)]);
    }
    // One after the other: readers stop at the first part that isn't there.
    const inOrder = [...byPart].sort(([a], [b]) => a - b);
    for (const [part, items] of inOrder) await this.#stored(() => this.#write(part, items));
  }

  async #write(number: number, changed: readonly StoredItem[]): Promise<void> {
    const { nats, jobId, lease } = this.#options;
    for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
      if (conflicts > 0) await delay(CONFLICT_PAUSE_MS);
      const part = this.#parts.get(number) ?? (await this.#load(number));
      for (const each of changed) part.items.set(Number(each.item?.ordinal), each);
      const items = [...part.items.entries()].sort(([a], [b]) => a - b).map(([, item]) => item);
      const sequence = await writeItemsPart(nats, jobId, number, { lease, items, sequence: part.sequence });
      if (sequence !== undefined) {
        part.sequence = sequence;
        return;
      }
      this.#parts.delete(number);
    }
    throw unavailable(`part ${number} of the outcomes of job ${jobId} is written by somebody else`);
  }

  async #load(number: number): Promise<Part> {
    const { nats, jobId, lease } = this.#options;
    const read = await readItemsPart(nats, jobId, number);
    if (read && read.part.lease > lease) {
      const message = `job ${jobId} has a newer lease than ${lease}`;
      throw new ArrwError("FAILED_PRECONDITION", message, { reason: "LEASE_FENCED" });
    }
    const stored = read ? itemsOf(read.part) : [];
    const items = new Map(stored.map((each) => [Number(each.item?.ordinal), each]));
    const part = { sequence: read?.sequence ?? 0, items };
    this.#parts.set(number, part);
    for (const oldest of this.#parts.keys()) {
      if (this.#parts.size <= PARTS_KEPT) break;
      this.#parts.delete(oldest);
    }
    return part;
  }

  #stored<T>(run: () => Promise<T>): Promise<T> {
    return whileUnavailable(run, { forMs: STORE_FOR_MS, signal: this.#options.signal });
  }
}

/** A run of failed items that finds none. */
export function noFailedItems(): ArrwError {
  const message = "none of the job's items is known to have failed: run all of them";
  return new ArrwError("FAILED_PRECONDITION", message, { reason: "NO_FAILED_ITEMS" });
}

function storedItem({ chunks, ordinal, libraryId = "", ...rest }: ItemOutcome): StoredItem {
  const item = boundedItem({ ...rest, ordinal: BigInt(ordinal), libraryId });
  return { item, chunks };
}

import type { ChangePosition } from "./domain/change-cursor.ts";
import { type EventRow, readState, type Store } from "./store.ts";

/**
 * What happened in a library, for those who watch it: a row for each change, the newest ones. They are apart from the
 * change log, which indexes read and which ends at the last snapshot.
 */

export const EVENT = {
  upserted: "document.upserted",
  deleted: "document.deleted",
  swapped: "generation.swapped",
  rolledBack: "generation.rolled_back",
} as const;

export type GenerationEvent = typeof EVENT.swapped | typeof EVENT.rolledBack;

export interface LibraryEvent {
  readonly event: string;
  readonly atMs: number;
  /** "" for a generation's event. */
  readonly documentId: string;
  /** The one that was live after it. */
  readonly generation: number;
  /** Behind it. */
  readonly next: ChangePosition;
}

export interface EventPage {
  readonly events: readonly LibraryEvent[];
  readonly next: ChangePosition;
  /** There are more by now. */
  readonly more: boolean;
}

/** `oldest` is where what is held begins; undefined = the position is ahead of the library. */
export interface NotHeld {
  readonly oldest: ChangePosition | undefined;
}

/** Events of a page; a page ends with a row, however long that is. */
const PAGE_EVENTS = 1_000;
/** A write that adds one row removes up to this many. */
const TRIM_ROWS = 4;

export class EventLog {
  readonly #store: Store;
  readonly #keep: number;

  /** @param keep at least so many of the newest events stay */
  constructor(store: Store, keep: number) {
    this.#store = store;
    this.#keep = keep;
  }

  /** Inside the transaction of the change. */
  append(change: number, row: Omit<EventRow, "total">): void {
    const { events } = this.#store;
    const count = row.upserted.length + row.deleted.length + (row.generationEvent ? 1 : 0);
    const total = (events.get(change - 1)?.total ?? 0) + count;
    events.put(change, { ...row, total });
    const due: number[] = [];
    for (const { key, value } of events.getRange({ end: change, limit: TRIM_ROWS })) {
      if (total - value.total < this.#keep) break;
      due.push(key);
    }
    for (const key of due) events.remove(key);
  }

  /** Behind all that has happened. */
  get end(): ChangePosition {
    return { change: readState(this.#store).change + 1, index: 0 };
  }

  /** The events from `from` on, as many as a page takes; all of them are on the disk. */
  async read(from: ChangePosition): Promise<EventPage | NotHeld> {
    const page = this.#read(from);
    // What a reader has seen must not be undone by a crash.
    await this.#store.env.flushed;
    return page;
  }

  #read(from: ChangePosition): EventPage | NotHeld {
    const { end } = this;
    if (from.change > end.change || (from.change === end.change && from.index > 0)) {
      return { oldest: undefined };
    }
    const events: LibraryEvent[] = [];
    let next = from;
    for (const { key, value } of this.#store.events.getRange({ start: from.change })) {
      // A version that wrote no events has worked on the library in between.
      if (key !== next.change) return events.length > 0 ? { events, next, more: true } : notHeld(key);
      const all = eventsOf(key, value);
      if (next.index > all.length) return { oldest: undefined };
      for (const event of all.slice(next.index)) events.push(event);
      next = { change: key + 1, index: 0 };
      if (events.length >= PAGE_EVENTS) break;
    }
    if (next.change >= end.change || events.length > 0)
      return { events, next, more: next.change < end.change };
    return notHeld(end.change);
  }
}

function notHeld(change: number): NotHeld {
  return { oldest: { change, index: 0 } };
}

function eventsOf(change: number, row: EventRow): LibraryEvent[] {
  const { atMs, generation, upserted, deleted, generationEvent } = row;
  const named: [event: string, documentId: string][] = [
    ...deleted.map((id): [string, string] => [EVENT.deleted, id]),
    ...upserted.map((id): [string, string] => [EVENT.upserted, id]),
  ];
  if (generationEvent) named.push([generationEvent, ""]);
  return named.map(([event, documentId], index) => {
    const last = index === named.length - 1;
    const next = last ? { change: change + 1, index: 0 } : { change, index: index + 1 };
    return { event, atMs, documentId, generation, next };
  });
}

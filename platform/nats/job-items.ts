import type { JobItem } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { ItemsPart, type StoredItem, StoredItems } from "../../proto/gen/arrwdb/worker/v1/items.ts";
import { ArrwError } from "../errors.ts";
import type { Nats } from "./connection.ts";
import { ObjectId, Stream, Subject } from "./names.ts";

/**
 * What became of the items of a job, in parts of fixed size, so that any item is found by its position and a part that is
 * written again replaces the one before. There are parts 0..n without a gap, each written as far as the job has come.
 */

/** So few that a part stays below NATS's message limit of 1 MiB, however long its ids, titles and messages are. */
export const ITEMS_PER_PART = 250;
export const MAX_ITEM_TITLE_CHARACTERS = 200;
export const MAX_ITEM_MESSAGE_CHARACTERS = 500;

const MAX_ID_CHARACTERS = 512;
const READ_AHEAD = 8;
const APPEND_TIMEOUT_MS = 10_000;
const WRONG_LAST_SEQUENCE = 10_071;
const OBJECTS_FULL = 10_077;

export interface ReadPart {
  /** Of the stream; what the next write of the part is conditional on. */
  readonly sequence: number;
  readonly part: ItemsPart;
}

/** What outcomes of items need of NATS. */
export type ItemsNats = Pick<Nats, "getMessage" | "append" | "purge">;

export function partOf(ordinal: number): number {
  return Math.floor(ordinal / ITEMS_PER_PART);
}

/** undefined: the job has not come so far. @throws ArrwError UNAVAILABLE */
export async function readItemsPart(
  nats: Pick<Nats, "getMessage">,
  jobId: string,
  part: number,
): Promise<ReadPart | undefined> {
  const subject = Subject.objectPart(ObjectId.items(jobId), part);
  const found = await nats.getMessage(Stream.objects, { lastBySubject: subject });
  return found && { sequence: found.sequence, part: ItemsPart.decode(found.data) };
}

/** The parts from one on, in order, some of them read ahead. @throws ArrwError UNAVAILABLE */
export async function* itemsParts(
  nats: Pick<Nats, "getMessage">,
  jobId: string,
  from: number,
): AsyncGenerator<ReadPart & { readonly number: number }> {
  const ahead: Promise<ReadPart | undefined>[] = [];
  for (let number = from; ; number++) {
    // Who wants one part pays for one or two.
    const wanted = Math.min(READ_AHEAD, number - from + 1);
    while (ahead.length < wanted) {
      const next = readItemsPart(nats, jobId, number + ahead.length);
      // A failure is met when its turn comes; until then it must not count as unhandled.
      next.catch(() => undefined);
      ahead.push(next);
    }
    const read = await ahead.shift();
    if (!read) return;
    yield { ...read, number };
  }
}

/** By position. */
export function itemsOf({ items }: ItemsPart): StoredItem[] {
  return StoredItems.decode(items).items;
}

/** Stores a part unless somebody wrote it since `sequence` (0 = ever). @returns its new sequence; undefined = somebody did */
export async function writeItemsPart(
  nats: Pick<Nats, "append">,
  jobId: string,
  part: number,
  content: { readonly lease: bigint; readonly items: readonly StoredItem[]; readonly sequence: number },
): Promise<number | undefined> {
  const subject = Subject.objectPart(ObjectId.items(jobId), part);
  const options = { timeoutMs: APPEND_TIMEOUT_MS, expectedLastSubjectSequence: content.sequence };
  try {
    return await nats.append(subject, encodePart(content), options);
  } catch (error) {
    const errCode = error instanceof Error && "errCode" in error ? error.errCode : undefined;
    if (errCode === WRONG_LAST_SEQUENCE) return undefined;
    if (errCode === OBJECTS_FULL)
      throw new ArrwError("RESOURCE_EXHAUSTED", "the object storage is full", { cause: error });
    throw new ArrwError("UNAVAILABLE", "the object storage does not answer", { cause: error });
  }
}

/** Forgets all outcomes of the job's items. @throws ArrwError UNAVAILABLE */
export async function removeItems(nats: Pick<ItemsNats, "purge">, jobId: string): Promise<void> {
  await nats.purge(Stream.objects, { subject: Subject.objectAll(ObjectId.items(jobId)) });
}

/** An item within the bounds of what is kept. */
export function boundedItem(fields: Omit<JobItem, "_unknownFields">): JobItem {
  const { error } = fields;
  const message = error?.message.slice(0, MAX_ITEM_MESSAGE_CHARACTERS) ?? "";
  return {
    ...fields,
    documentId: fields.documentId.slice(0, MAX_ID_CHARACTERS),
    title: fields.title.slice(0, MAX_ITEM_TITLE_CHARACTERS),
    error: error && { ...error, message },
  };
}

function encodePart({
  lease,
  items,
}: {
  readonly lease: bigint;
  readonly items: readonly StoredItem[];
}): Buffer {
  let [ok, failed, chunks] = [0, 0, 0];
  for (const each of items) {
    if (each.item?.outcome === "ok") ok += 1;
    else if (each.item?.outcome === "failed") failed += 1;
    chunks += each.chunks;
  }
  const bytes = Buffer.from(StoredItems.encode({ items: [...items] }).finish());
  return Buffer.from(ItemsPart.encode({ lease, ok, failed, chunks: BigInt(chunks), items: bytes }).finish());
}

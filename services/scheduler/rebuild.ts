import { Stream } from "../../platform/nats/names.ts";
import type { StreamMessage } from "../../platform/nats/tail.ts";
import type { Bus } from "./bus.ts";
import type { Store } from "./jobs.ts";
import { jobIdOf } from "./journal.ts";
import { checksumOf, type RawRecord } from "./store.ts";
import { nextBatch, type Position, STALL_TIMEOUT_MS } from "./takeover.ts";

/** A store that lacks fewer batches is brought up to date by following the journal. */
const FAR_BEHIND = 200;
/** Jobs that gather before they are written: some 50 ms of writing, some MB. */
const CHUNK_JOBS = 5_000;

/**
 * Brings a store that is far behind to the end of the journal, before jobs are loaded from it. Only a job's newest
 * record in a chunk is decoded and written, and reading waits for the writing: memory stays small however long the
 * journal is. `position` moves on with it.
 */
export async function rebuild(
  nats: Pick<Bus, "streamInfo" | "readToEnd">,
  store: Store,
  position: Position,
  signal?: AbortSignal,
): Promise<void> {
  const { lastSequence } = await nats.streamInfo(Stream.journal);
  if (lastSequence - position.sequence < FAR_BEHIND) return;
  let chunk = new Map<string, RawRecord>();
  const write = (): void => {
    const { streamCreatedAt, sequence, bytes } = position;
    store.writeNow(chunk, { streamCreatedAt, sequence, checksum: checksumOf(bytes) });
    chunk = new Map();
  };
  const onMessage = (message: StreamMessage): void => {
    signal?.throwIfAborted();
    const { sequence } = message;
    for (const bytes of nextBatch(position, message).records) chunk.set(jobIdOf(bytes), { sequence, bytes });
    if (chunk.size >= CHUNK_JOBS) write();
  };
  await nats.readToEnd(Stream.journal, position.sequence + 1, onMessage, STALL_TIMEOUT_MS);
  if (chunk.size > 0) write();
}

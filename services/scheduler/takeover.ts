import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type ArrwError, unavailable } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { StreamInfo } from "../../platform/nats/connection.ts";
import { Stream, Subject } from "../../platform/nats/names.ts";
import { AppendError } from "../../platform/nats/publisher.ts";
import type { StreamMessage } from "../../platform/nats/tail.ts";
import { JournalBatch } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import type { Queue } from "../../proto/gen/arrwdb/v1/queues.ts";
import type { Bus } from "./bus.ts";
import type { Store } from "./jobs.ts";
import { JOURNAL_VERSION } from "./journal.ts";
import type { Projection } from "./projection.ts";
import { checksumOf, JobStore, type Through } from "./store.ts";

/** How a scheduler comes to lead: it follows the journal to its end and appends an EPOCH batch there. */

export const STALL_TIMEOUT_MS = 10_000;
const APPEND_TIMEOUT_MS = 5_000;
const MAX_ATTEMPTS = 100;
const WRONG_LAST_SEQUENCE = 10_071;
const STREAM_FULL = 10_077;
/** Room that a stream which is full is given, above what it holds. */
const ROOM_SHARE = 0.25;
const ROOM_BYTES = 64 * 1024 * 1024;

/** Where the journal stands. */
export interface Position {
  readonly streamCreatedAt: string;
  sequence: number;
  /** The batch at that sequence. */
  bytes: Uint8Array;
  outcomesThrough: number;
  lastLease: bigint;
  queues: readonly Queue[];
  /** Unix ms of the newest decision. */
  lastAtMs: number;
}

/** A journal that a newer release wrote: this one must not lead. */
export class JournalTooNew extends Error {
  constructor(version: number) {
    super(`the journal has version ${version}, this scheduler knows ${JOURNAL_VERSION}: it never leads`);
    this.name = "JournalTooNew";
  }
}

/** Opens the store if it fits the journal; otherwise deletes it, loudly, and starts an empty one. */
export async function openStore(
  open: () => Store,
  nats: Pick<Bus, "getMessage">,
  info: StreamInfo,
  log: Logger,
): Promise<{ store: Store; position: Position }> {
  const start: Position = {
    streamCreatedAt: info.createdAt,
    // A stream that never held a message begins at 0.
    sequence: Math.max(1, info.firstSequence) - 1,
    bytes: new Uint8Array(0),
    outcomesThrough: 0,
    lastLease: 0n,
    queues: [],
    lastAtMs: 0,
  };
  const store = open();
  const through = store.through();
  if (!through) return { store, position: start };
  let problem: Awaited<ReturnType<typeof mismatch>>;
  try {
    problem = await mismatch(nats, info, through);
  } catch (error) {
    await store.close();
    throw error;
  }
  if (typeof problem !== "string") {
    const { bytes, batch } = problem;
    const { outcomesThrough, lastLease, queues, lastAt } = batch;
    const position = {
      ...start,
      sequence: through.sequence,
      bytes,
      outcomesThrough: Number(outcomesThrough),
      lastLease,
      queues,
      lastAtMs: lastAt?.getTime() ?? 0,
    };
    return { store, position };
  }
  log.warn({ reason: problem }, "the local store does not fit the journal: it is rebuilt from the journal");
  await store.destroy();
  return { store: open(), position: start };
}

/**
 * Files that can't be opened are as good as none: the journal has everything. LMDB may end the whole process on broken
 * ones; the mark that is then left tells the next start.
 */
export function openFiles(path: string, log: Logger): JobStore {
  const mark = `${path}.opening`;
  const remove = (reason: string): void => {
    log.warn({ path, reason }, "the local store can't be read: it is rebuilt from the journal");
    rmSync(path, { recursive: true, force: true });
  };
  mkdirSync(dirname(path), { recursive: true });
  if (existsSync(mark)) remove("the process ended while it was opened");
  writeFileSync(mark, "");
  let store: JobStore;
  try {
    store = new JobStore(path);
  } catch (error) {
    remove(String(error));
    store = new JobStore(path);
  }
  rmSync(mark, { force: true });
  return store;
}

async function mismatch(
  nats: Pick<Bus, "getMessage">,
  info: StreamInfo,
  through: Through,
): Promise<string | { bytes: Uint8Array; batch: JournalBatch }> {
  if (through.streamCreatedAt !== info.createdAt) return "the journal was made anew";
  if (through.sequence > info.lastSequence) return "the journal is shorter than the store";
  if (through.sequence < info.firstSequence) return "the journal was purged beyond the store";
  const message = await nats.getMessage(Stream.journal, { sequence: through.sequence });
  if (!message || checksumOf(message.data) !== through.checksum) return "the journal has another batch there";
  const batch = JournalBatch.decode(message.data);
  if (batch.version > JOURNAL_VERSION) throw new JournalTooNew(batch.version);
  return { bytes: message.data, batch };
}

/**
 * Moves a position on to the next batch. @returns the batch
 * @throws JournalTooNew
 * @throws ArrwError UNAVAILABLE when batches in between are gone: only the journal as a whole tells what they said
 */
export function nextBatch(position: Position, { sequence, data }: StreamMessage): JournalBatch {
  if (sequence !== position.sequence + 1) {
    throw unavailable(`the journal was purged up to ${sequence} while it was read at ${position.sequence}`);
  }
  const batch = JournalBatch.decode(data);
  if (batch.version > JOURNAL_VERSION) throw new JournalTooNew(batch.version);
  position.sequence = sequence;
  position.bytes = data;
  position.outcomesThrough = Math.max(position.outcomesThrough, Number(batch.outcomesThrough));
  if (batch.lastLease > position.lastLease) position.lastLease = batch.lastLease;
  position.queues = batch.queues;
  position.lastAtMs = Math.max(position.lastAtMs, batch.lastAt?.getTime() ?? 0);
  return batch;
}

/** Takes up all of the journal behind what the projection has, up to its end as of now. */
export async function readJournal(nats: Bus, projection: Projection, signal?: AbortSignal): Promise<void> {
  const { position } = projection;
  const onMessage = (message: StreamMessage): void => {
    signal?.throwIfAborted();
    projection.follow(message);
  };
  const end = await nats.readToEnd(Stream.journal, position.sequence + 1, onMessage, STALL_TIMEOUT_MS);
  position.sequence = Math.max(position.sequence, end);
}

/**
 * Follows the journal and appends the EPOCH batch; its acknowledgement makes a leader.
 * @returns the epoch: the batch's sequence
 * @throws ArrwError UNAVAILABLE when it is not known whether the batch was stored
 */
export async function appendEpoch(
  nats: Bus,
  projection: Projection,
  leaderAddress: string,
  log: Logger,
): Promise<number> {
  const { position } = projection;
  let enlarged = false;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    await readJournal(nats, projection);
    const bytes = JournalBatch.encode({
      version: JOURNAL_VERSION,
      epoch: 0n,
      outcomesThrough: BigInt(position.outcomesThrough),
      lastLease: position.lastLease,
      leaderAddress,
      records: [],
      queues: [...position.queues],
      lastAt: new Date(position.lastAtMs),
    }).finish();
    try {
      const expectedLastSequence = position.sequence;
      const options = { timeoutMs: APPEND_TIMEOUT_MS, expectedLastSequence };
      const epoch = await nats.append(Subject.journal, bytes, options);
      position.sequence = epoch;
      position.bytes = bytes;
      return epoch;
    } catch (error) {
      const errCode = error instanceof AppendError ? error.errCode : 0;
      // Another batch came in between; read it and try again behind it.
      if (errCode === WRONG_LAST_SEQUENCE) continue;
      if (errCode === STREAM_FULL && !enlarged) {
        enlarged = true;
        await enlarge(nats, log);
        continue;
      }
      throw unavailable("taking over the journal failed", { cause: error }) satisfies ArrwError;
    }
  }
  throw unavailable("taking over the journal failed: others keep writing to it");
}

/**
 * A journal at the hard limit of its stream takes nothing, not even what would make it smaller. It gets room to append;
 * retention then shrinks it and sets the limit back.
 */
async function enlarge(nats: Bus, log: Logger): Promise<void> {
  const { bytes } = await nats.streamInfo(Stream.journal);
  const maxBytes = Math.ceil(bytes * (1 + ROOM_SHARE)) + ROOM_BYTES;
  log.warn(
    { bytes, max_bytes: maxBytes },
    "the journal's stream is full: its limit is raised until it is compacted",
  );
  await nats.setMaxBytes(Stream.journal, maxBytes);
}

import type { Nats } from "./connection.ts";
import { Stream, Subject } from "./names.ts";

export interface StreamBounds {
  /** Our own bound of the journal; the stream's is twice as high, so that ours is met first. */
  readonly journalMaxBytes: number;
  readonly objectsMaxBytes: number;
  /** Default 256 MiB. */
  readonly logsMaxBytes?: number;
  /** Default and least: a day. Logs of deleted jobs are purged; this is for what a purge misses. */
  readonly logsMaxAgeMs?: number;
  readonly replicas: number;
}

const OUTCOMES_MAX_BYTES = 1024 ** 3;
const LOGS_MAX_BYTES = 256 * 1024 ** 2;
const DAY_MS = 86_400_000;
/** A message has at least one line, and readers want no more than the newest 1,000. */
const MAX_MESSAGES_PER_LOG = 1_000;

/**
 * Makes the system's streams where they are missing; every process may call it. In an account that doesn't own them it
 * waits for those that it is told of.
 */
export async function ensureStreams(nats: Nats, bounds: StreamBounds): Promise<void> {
  const { journalMaxBytes, objectsMaxBytes, logsMaxBytes = LOGS_MAX_BYTES, replicas } = bounds;
  await nats.ensureStream({
    name: Stream.journal,
    subjects: [Subject.journal],
    feed: Subject.journalFeed,
    maxBytes: 2 * journalMaxBytes,
    replicas,
  });
  if (!nats.isGuest)
    await nats.ensureStream({
      name: Stream.outcomes,
      subjects: [Subject.outcomes],
      maxBytes: OUTCOMES_MAX_BYTES,
      replicas,
    });
  await nats.ensureStream({
    name: Stream.objects,
    subjects: [Subject.objects],
    maxBytes: objectsMaxBytes,
    // A part that is written again replaces the one before, and takes no more room.
    maxMessagesPerSubject: 1,
    replicas,
  });
  await nats.ensureStream({
    name: Stream.logs,
    subjects: [Subject.jobLogs],
    feed: Subject.jobLogFeeds,
    maxBytes: logsMaxBytes,
    maxAgeMs: Math.max(DAY_MS, bounds.logsMaxAgeMs ?? 0),
    maxMessagesPerSubject: MAX_MESSAGES_PER_LOG,
    discard: "old",
    replicas,
  });
}

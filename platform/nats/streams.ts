import type { Nats } from "./connection.ts";
import { Stream, Subject } from "./names.ts";

export interface StreamBounds {
  /** Our own bound of the journal; the stream's is twice as high, so that ours is met first. */
  readonly journalMaxBytes: number;
  readonly objectsMaxBytes: number;
  readonly replicas: number;
}

const OUTCOMES_MAX_BYTES = 1024 ** 3;

/** Makes the system's streams where they are missing; every process may call it. */
export async function ensureStreams(nats: Nats, bounds: StreamBounds): Promise<void> {
  const { journalMaxBytes, objectsMaxBytes, replicas } = bounds;
  await nats.ensureStream({
    name: Stream.journal,
    subjects: [Subject.journal],
    maxBytes: 2 * journalMaxBytes,
    replicas,
  });
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
    replicas,
  });
}

import {
  DiscardPolicy,
  type JetStreamManager,
  NatsError,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "nats";
import { ArrwError } from "../errors.ts";

export interface StreamSpec {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly maxBytes: number;
  readonly replicas: number;
  /** What a full stream does: refuse, or drop its oldest messages. Default "new": nothing is dropped silently. */
  readonly discard?: "new" | "old";
  /** Default: for ever. */
  readonly maxAgeMs?: number;
  /** The oldest of a subject give way. Default: any number. */
  readonly maxMessagesPerSubject?: number;
  /** Subject on which stored messages are published once more; of a wildcard, too. Default: none. */
  readonly feed?: string;
}

/**
 * Makes the stream where it is missing: file storage, kept by limits.
 * @throws ArrwError RESOURCE_EXHAUSTED when nats-server may not store that much
 */
export async function putStream(manager: JetStreamManager, spec: StreamSpec): Promise<void> {
  const limits = {
    max_bytes: spec.maxBytes,
    max_age: nanos(spec.maxAgeMs ?? 0),
    max_msgs_per_subject: spec.maxMessagesPerSubject ?? -1,
    num_replicas: spec.replicas,
    ...(spec.feed === undefined ? {} : { republish: { src: spec.subjects[0] ?? ">", dest: spec.feed } }),
  } satisfies Partial<StreamConfig>;
  const config = {
    name: spec.name,
    subjects: [...spec.subjects],
    retention: RetentionPolicy.Limits,
    discard: spec.discard === "old" ? DiscardPolicy.Old : DiscardPolicy.New,
    storage: StorageType.File,
    allow_direct: true,
    ...limits,
  } satisfies Partial<StreamConfig>;
  try {
    await manager.streams.add(config);
  } catch (error) {
    if (error instanceof NatsError && error.api_error?.err_code === 10_047) {
      throw new ArrwError(
        "RESOURCE_EXHAUSTED",
        `nats-server has no room for stream ${spec.name} of ${spec.maxBytes} bytes: raise its max_file_store, ` +
          "or lower ARRW_JOURNAL_MAX_BYTES, ARRW_OBJECTS_MAX_BYTES and ARRW_LOGS_MAX_BYTES",
        { cause: error },
      );
    }
    // 10058: it exists with another configuration; our limits win, its data stays.
    if (!(error instanceof NatsError) || error.api_error?.err_code !== 10_058) throw error;
    await manager.streams.update(spec.name, limits);
  }
}

import {
  DiscardPolicy,
  type JetStreamManager,
  NatsError,
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
}

/**
 * Makes the stream where it is missing: file storage, kept by limits, full means refused (nothing is dropped silently).
 * @throws ArrwError RESOURCE_EXHAUSTED when nats-server may not store that much
 */
export async function putStream(manager: JetStreamManager, spec: StreamSpec): Promise<void> {
  const config = {
    name: spec.name,
    subjects: [...spec.subjects],
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    storage: StorageType.File,
    max_bytes: spec.maxBytes,
    num_replicas: spec.replicas,
    allow_direct: true,
  } satisfies Partial<StreamConfig>;
  try {
    await manager.streams.add(config);
  } catch (error) {
    if (error instanceof NatsError && error.api_error?.err_code === 10_047) {
      throw new ArrwError(
        "RESOURCE_EXHAUSTED",
        `nats-server has no room for stream ${spec.name} of ${spec.maxBytes} bytes: raise its max_file_store, ` +
          "or lower ARRW_JOURNAL_MAX_BYTES and ARRW_OBJECTS_MAX_BYTES",
        { cause: error },
      );
    }
    // 10058: it exists with another configuration; our limits win, its data stays.
    if (!(error instanceof NatsError) || error.api_error?.err_code !== 10_058) throw error;
    await manager.streams.update(spec.name, {
      max_bytes: spec.maxBytes,
      num_replicas: spec.replicas,
    });
  }
}

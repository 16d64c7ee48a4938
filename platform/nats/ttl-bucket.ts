import { type KV, NatsError } from "nats";
import { ArrwError, unavailable } from "../errors.ts";

/** One key with optimistic locking whose entries vanish `ttlMs` after their last write. */
export interface TtlBucket {
  /** The key's value and revision. */
  get(key: string): Promise<{ value: string; revision: number } | undefined>;
  /** @throws ArrwError ALREADY_EXISTS when the key is there */
  create(key: string, value: string): Promise<number>;
  /** @throws ArrwError ABORTED when the key has another revision */
  update(key: string, value: string, revision: number): Promise<number>;
  /** Frees the key if it has that revision. */
  release(key: string, revision: number): Promise<void>;
}

/** The bucket as the rest of the system sees it. */
export function ttlBucketOf(kv: KV): TtlBucket {
  return {
    get: async (key) => {
      const entry = await kv.get(key);
      return entry && entry.operation === "PUT"
        ? { value: entry.string(), revision: entry.revision }
        : undefined;
    },
    create: async (key, value) => {
      try {
        return await kv.create(key, new TextEncoder().encode(value));
      } catch (error) {
        throw kvError(error, "ALREADY_EXISTS");
      }
    },
    update: async (key, value, revision) => {
      try {
        return await kv.update(key, new TextEncoder().encode(value), revision);
      } catch (error) {
        throw kvError(error, "ABORTED");
      }
    },
    release: (key, revision) => kv.delete(key, { previousSeq: revision }),
  };
}

/** 10071: the key has another revision than the caller expected. */
function kvError(error: unknown, conflict: "ALREADY_EXISTS" | "ABORTED"): ArrwError {
  if (error instanceof NatsError && error.api_error?.err_code === 10_071) {
    return new ArrwError(conflict, "the key was written by another", { cause: error });
  }
  return unavailable(`the bucket can't be written: ${String(error)}`, { cause: error });
}

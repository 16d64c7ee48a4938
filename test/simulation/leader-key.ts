import { ArrwError } from "../../platform/errors.ts";
import type { TtlBucket } from "../../platform/nats/ttl-bucket.ts";
import type { Host } from "./host.ts";
import type { Server } from "./server.ts";

/** The bucket with the leader's key, as one process sees it. @param call a round trip to the server */
export function bucketOf(
  server: Server,
  { timeline }: Host,
  ttlMs: number,
  call: <T>(atServer: () => T) => Promise<T>,
): TtlBucket {
  const put = (value: string): number => server.putKey(value, timeline.now + ttlMs);
  const taken = (code: "ALREADY_EXISTS" | "ABORTED"): ArrwError =>
    new ArrwError(code, "the key was written by another");
  return {
    get: () => call(() => server.key(timeline.now)),
    create: (_key, value) =>
      call(() => {
        if (server.key(timeline.now)) throw taken("ALREADY_EXISTS");
        return put(value);
      }),
    update: (_key, value, revision) =>
      call(() => {
        if (server.key(timeline.now)?.revision !== revision) throw taken("ABORTED");
        return put(value);
      }),
    release: (_key, revision) =>
      call(() => {
        if (server.key(timeline.now)?.revision === revision) server.removeKey();
      }),
  };
}

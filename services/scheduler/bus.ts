import type { Nats } from "../../platform/nats/connection.ts";
import type { Tail } from "../../platform/nats/tail.ts";

/** What the scheduler asks of NATS; a simulation gives it another one. */
export interface Bus
  extends Pick<
    Nats,
    | "append"
    | "getMessage"
    | "onReconnect"
    | "publish"
    | "purge"
    | "readToEnd"
    | "setMaxBytes"
    | "streamInfo"
    | "streamSubjects"
    | "subscribe"
    | "ttlBucket"
    | "unready"
  > {
  tail(options: Parameters<Nats["tail"]>[0]): Reader;
}

export type Reader = Pick<Tail, "start" | "stop">;

import type { NatsAccess } from "../../platform/nats/access.ts";

/** What the main thread and the heartbeat thread say to each other. */

export interface ThreadData {
  readonly natsAccess: NatsAccess;
  readonly logLevel: string;
  readonly workerId: string;
  /** The main loop may stand still for so long before the process is killed. */
  readonly stallMs: number;
  /** The first heartbeat, encoded. */
  readonly heartbeat: Uint8Array;
}

export type ToThread =
  /** The state as of now, an encoded `Heartbeat`; it is sent at once. The answer to a ping, or unasked. */
  | { readonly kind: "heartbeat"; readonly heartbeat: Uint8Array }
  /** One last heartbeat, then the thread ends. */
  | { readonly kind: "stop"; readonly heartbeat: Uint8Array };

export type FromThread =
  /** Connected; the first heartbeat is on its way. */
  | { readonly kind: "ready" }
  /** Asks for a heartbeat, and shows whether the main loop turns. */
  | { readonly kind: "ping" }
  /** The scheduler's `HeartbeatReply`. */
  | { readonly kind: "reply"; readonly reply: Uint8Array }
  /** No round trip to NATS for 4 s: leases may pass to others. */
  | { readonly kind: "cutOff" };

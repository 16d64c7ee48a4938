import type { FastifyRequest } from "fastify";

export interface StreamOptions {
  /** A client that takes nothing of what waits for it for so long is given up. */
  readonly sendTimeoutMs: number;
  /** Silence after which a stream of events sends a sign of life; less than `sendTimeoutMs`. */
  readonly heartbeatMs: number;
  /** Silence after which an upload is given up. */
  readonly uploadIdleMs: number;
}

/**
 * Closes the connection once nothing has moved on it for so long. Nothing moves only when the client doesn't read: what is
 * sent, heartbeats included, is taken up by the socket until its buffers are full.
 */
export function boundSending({ raw }: FastifyRequest, { sendTimeoutMs }: StreamOptions): void {
  // Node sets the connection's own time-out again after the answer.
  raw.socket.setTimeout(sendTimeoutMs);
}

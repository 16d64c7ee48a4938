import type { FastifyRequest } from "fastify";

export interface StreamOptions {
  /** A client that takes nothing of what waits for it for so long, or sends nothing of its upload, is given up. */
  readonly idleTimeoutMs: number;
  /** Silence after which a stream of events sends a sign of life; less than `idleTimeoutMs`. */
  readonly heartbeatMs: number;
}

const HEARTBEAT_MS = 15_000;

export function streamOptions(idleTimeoutMs: number): StreamOptions {
  return { idleTimeoutMs, heartbeatMs: Math.min(HEARTBEAT_MS, idleTimeoutMs / 3) };
}

/**
 * Closes the connection once nothing has moved on it for so long. Nothing moves only when the client doesn't read: what is
 * sent, heartbeats included, is taken up by the socket until its buffers are full.
 */
export function boundSending({ raw }: FastifyRequest, { idleTimeoutMs }: StreamOptions): void {
  // Node sets the connection's own time-out again after the answer.
  raw.socket.setTimeout(idleTimeoutMs);
}

import type { FastifyReply } from "fastify";
import { toArrwError } from "../../../platform/errors.ts";
import { errorBody } from "./errors.ts";
import type { OpenedStream, StreamEvent } from "./event-stream.ts";
import { PacedText } from "./paced-text.ts";

/** Server-sent events (WHATWG HTML, 9.2): what EventSource reads, and curl -N shows. */

export interface SseOptions {
  /** Silence after which a comment is sent: proxies close what is silent. */
  readonly heartbeatMs: number;
}

/** When a client whose connection broke comes again. */
const RETRY = "retry: 2000\n\n";
const HEARTBEAT = ":\n\n";
/** Tells a client to close: EventSource would connect again for ever. */
const END = "event: end\ndata: {}\n\n";

export function formatSse({ id, event, data }: StreamEvent): string {
  const position = id === undefined ? "" : `id: ${id}\n`;
  // Without data it is no event to EventSource, which remembers the position all the same.
  return event === undefined ? `${position}\n` : `${position}event: ${event}\ndata: ${data}\n\n`;
}

/** Answers with the events, and with `event: end` or `event: error` (as an answer's body has it) behind the last one. */
export function sendSse(
  reply: FastifyReply,
  { messages }: OpenedStream<StreamEvent>,
  { heartbeatMs }: SseOptions,
): FastifyReply {
  reply
    .header("content-type", "text/event-stream; charset=utf-8")
    .header("cache-control", "no-store")
    // nginx would gather them.
    .header("x-accel-buffering", "no");
  const heartbeat = { text: HEARTBEAT, everyMs: heartbeatMs };
  return reply.send(new PacedText(blocks(messages), { opening: RETRY, heartbeat }));
}

async function* blocks(events: AsyncIterable<StreamEvent>): AsyncGenerator<string> {
  try {
    for await (const event of events) yield formatSse(event);
    yield END;
  } catch (error) {
    const body = JSON.stringify(errorBody(toArrwError(error)));
    yield formatSse({ event: "error", data: body });
  }
}

import type { CallContext } from "../../../platform/grpc/server.ts";

/** What streams of events have in common, whether they go out as SSE or through a WebSocket. */

export interface StreamEvent {
  /** Position behind the event, for the client to resume at; undefined = the event has none. */
  readonly id?: string;
  /** undefined = nothing has happened yet: only the position is given. */
  readonly event: string | undefined;
  /** JSON on one line. */
  readonly data: string;
}

/** A handler's messages, of which the first has been waited for. */
export interface OpenedStream<T> {
  /** It ended without any message. */
  readonly empty: boolean;
  readonly messages: AsyncIterableIterator<T>;
}

/** A call that is refused is refused within this; a stream on which nothing happens is open after it. */
const PEEK_MS = 500;

/**
 * Waits a moment for the first message, so that a call that is refused is answered with a status.
 * @throws what the handler throws before its first message
 */
export async function openStream<T>(source: AsyncIterable<T>): Promise<OpenedStream<T>> {
  const iterator = source[Symbol.asyncIterator]();
  const first = iterator.next();
  // Who reads on hears of a failure that comes later.
  first.catch(() => undefined);
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, PEEK_MS, undefined);
  });
  try {
    const peeked = await Promise.race([first, patience]);
    return { empty: peeked?.done === true, messages: resumed(first, iterator) };
  } finally {
    clearTimeout(timer);
  }
}

function resumed<T>(first: Promise<IteratorResult<T>>, iterator: AsyncIterator<T>): AsyncIterableIterator<T> {
  let next: Promise<IteratorResult<T>> | undefined = first;
  return {
    next: () => {
      const peeked = next ?? iterator.next();
      next = undefined;
      return peeked;
    },
    return: async () => {
      await iterator.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/**
 * The context of a call whose client can't set headers: browsers give EventSource and WebSocket a URL, nothing more,
 * so these routes take the token from there. A header wins.
 */
export function withAccessToken(context: CallContext, query: unknown): CallContext {
  const token = (query as { readonly access_token?: unknown }).access_token;
  if (typeof token !== "string" || token === "") return context;
  const header = (name: string): string | undefined => {
    const given = context.header(name);
    return given === undefined && name.toLowerCase() === "authorization" ? `Bearer ${token}` : given;
  };
  return { ...context, header };
}

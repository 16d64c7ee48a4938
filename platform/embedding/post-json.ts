/** One HTTP call, bounded in time and size. */

export interface PostOptions {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
  /** For the call as a whole, its answer read to the end. */
  readonly timeoutMs: number;
  /** Of an answer with status 2xx; others are read to 64 KiB and cut. */
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

export interface PostAnswer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly text: string;
}

/** The call brought no answer; another may. The message says why. */
export class NoAnswer extends Error {}

/** The answer is larger than it may be. */
export class AnswerTooLarge extends Error {}

const MAX_ERROR_BYTES = 64 * 1024;

/** @throws NoAnswer, AnswerTooLarge, or the signal's reason */
export async function postJson(options: PostOptions): Promise<PostAnswer> {
  const { signal, timeoutMs } = options;
  if (signal.aborted) throw signal.reason;
  const ending = new AbortController();
  const onAbort = (): void => ending.abort();
  signal.addEventListener("abort", onAbort, { once: true });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    ending.abort();
  }, timeoutMs);
  try {
    return await exchange(options, ending);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof AnswerTooLarge) throw error;
    throw new NoAnswer(late ? `no answer within ${timeoutMs} ms` : reasonOf(error));
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

async function exchange(options: PostOptions, ending: AbortController): Promise<PostAnswer> {
  const response = await fetch(options.url, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json", ...options.headers },
    body: JSON.stringify(options.body),
    // A redirect would carry texts to where nobody has sent them.
    redirect: "manual",
    signal: ending.signal,
  });
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const max = response.ok ? options.maxBytes : MAX_ERROR_BYTES;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > max) {
      ending.abort();
      if (response.ok) throw new AnswerTooLarge(`the answer has more than ${max} bytes`);
      chunks.push(chunk.subarray(0, chunk.length - (bytes - max)));
      break;
    }
    chunks.push(chunk);
  }
  return {
    status: response.status,
    retryAfter: response.headers.get("retry-after") ?? undefined,
    text: Buffer.concat(chunks).toString("utf8"),
  };
}

/** fetch says "fetch failed"; what happened is in its cause. */
function reasonOf(error: unknown): string {
  const { cause } = error instanceof Error ? error : {};
  const { message, code } = (cause ?? error ?? {}) as Partial<NodeJS.ErrnoException>;
  if (!message) return code || "the connection failed";
  return code && !message.includes(code) ? `${message} (${code})` : message;
}

import type { ServerDuplexStream } from "@grpc/grpc-js";

/** The requests; ends with the signal's reason. Never destroys the call, which has a status to send yet. */
export async function* untilAborted(
  call: ServerDuplexStream<unknown, unknown>,
  signal: AbortSignal,
): AsyncGenerator<unknown> {
  const iterator = call.iterator({ destroyOnReturn: false });
  // Not a race with one promise for all: that would keep every message until the call ends.
  let refuse: ((reason: unknown) => void) | undefined;
  const onAbort = (): void => refuse?.(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const next = await new Promise<IteratorResult<unknown>>((resolve, reject) => {
        refuse = reject;
        if (signal.aborted) onAbort();
        else iterator.next().then(resolve, reject);
      });
      if (next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

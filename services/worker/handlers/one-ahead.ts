import { unlessAborted } from "../unless-aborted.ts";

/** Makes the next item while the current one is worked on. Ends at once when aborted, even while an item is awaited. */
export async function* oneAhead<T>(source: AsyncGenerator<T>, signal: AbortSignal): AsyncGenerator<T> {
  const take = (): Promise<IteratorResult<T>> => {
    const next = source.next();
    // A failure is met when its turn comes; until then it must not count as unhandled.
    next.catch(() => undefined);
    return next;
  };
  try {
    for (let next = take(); ; ) {
      // One promise for the abort of all items would hold on to every item that was raced against it.
      const { done, value } = await unlessAborted(next, signal);
      if (done) return;
      next = take();
      yield value;
    }
  } finally {
    // Not awaited: it may be waiting for the network.
    source.return(undefined).catch(() => undefined);
  }
}

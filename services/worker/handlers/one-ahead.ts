/** Makes the next item while the current one is worked on. Ends at once when aborted, even while an item is awaited. */
export async function* oneAhead<T>(source: AsyncGenerator<T>, signal: AbortSignal): AsyncGenerator<T> {
  const take = (): Promise<IteratorResult<T>> => {
    const next = source.next();
    // A failure is met when its turn comes; until then it must not count as unhandled.
    next.catch(() => undefined);
    return next;
  };
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  aborted.catch(() => undefined);
  try {
    for (let next = take(); ; ) {
      const { done, value } = await Promise.race([next, aborted]);
      if (done) return;
      next = take();
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    // Not awaited: it may be waiting for the network.
    source.return(undefined).catch(() => undefined);
  }
}

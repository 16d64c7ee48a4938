import { lastKeyOf } from "./generations.ts";
import { durably, readState, type Store } from "./store.ts";

/**
 * Vectors of one set that another one of the same embedding lacks: those of chunks that were written since it was the
 * live one. Vectors don't depend on who asks, so they are copied.
 */

export interface CopiedSets {
  readonly from: string;
  readonly to: string;
}

const COPIED_AT_ONCE = 500;

/** @param firstKey the first key that `to` may lack */
export async function copyVectors(
  store: Store,
  sets: CopiedSets,
  firstKey: number,
  signal: AbortSignal,
): Promise<void> {
  await durably(store.env, () => {
    const through = store.vectorSets.get(sets.to)?.through ?? firstKey - 1;
    store.vectorSets.put(sets.to, { through });
  });
  while (copied(store, sets).left > COPIED_AT_ONCE) {
    signal.throwIfAborted();
    await durably(store.env, () => copy(store, sets, COPIED_AT_ONCE));
  }
}

/** Inside a transaction: the rest, and `to` has all vectors from here on. */
export function copyVectorsNow(store: Store, sets: CopiedSets): void {
  copy(store, sets, Number.MAX_SAFE_INTEGER);
  store.vectorSets.remove(sets.to);
}

function copied(store: Store, { to }: CopiedSets): { readonly through: number; readonly left: number } {
  const through = lastKeyOf(store, to);
  return { through, left: readState(store).nextKey - 1 - through };
}

function copy(store: Store, sets: CopiedSets, limit: number): void {
  const { through, left } = copied(store, sets);
  const end = through + Math.min(limit, left);
  const [from, to] = [store.vectors(sets.from), store.vectors(sets.to)];
  for (const { key, value } of [...from.getRange({ start: through + 1, end: end + 1 })]) to.put(key, value);
  store.vectorSets.put(sets.to, { through: end });
}

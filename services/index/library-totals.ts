import type { Library } from "./library.ts";

/** Sums over open libraries. */
export interface LibraryTotals {
  readonly open: number;
  readonly documents: number;
  readonly chunks: number;
  readonly vectors: number;
  readonly behind: number;
  /** Of loaded indexes, and what builds will need. */
  readonly memoryBytes: number;
  /** Under way. */
  readonly builds: number;
}

export function totalsOf(libraries: readonly Library[]): LibraryTotals {
  const totals = { open: 0, documents: 0, chunks: 0, vectors: 0, behind: 0, memoryBytes: 0, builds: 0 };
  for (const library of libraries) {
    const { documents, chunks } = library.state;
    totals.open += 1;
    totals.documents += documents;
    totals.chunks += chunks;
    totals.vectors += library.vectors;
    totals.behind += library.behind;
    totals.memoryBytes += library.memoryBytes;
    if (library.builds.building !== undefined) totals.builds += 1;
  }
  return totals;
}

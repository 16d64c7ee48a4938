/** What a batch_delete makes of a batch of ids, before anything is removed. */

/** One id of the batch. */
export interface Candidate {
  readonly ordinal: number;
  readonly documentId: string;
  readonly title: string;
  /** Where it was found; "" = in the job's one library, or it wasn't. */
  readonly libraryId: string;
  /**
   * What an attempt before left of it: `done` is removed and stays so, `begun` may or may not be removed. Of `found` it is
   * known that it is there, of `new` nothing.
   */
  readonly state: "new" | "found" | "begun" | "done";
}

/** Where a document is. */
export interface Place {
  /** As in a candidate. */
  readonly libraryId: string;
  readonly title: string;
}

export interface DeletePlan {
  /** Removed already. */
  readonly done: readonly Candidate[];
  /** To be removed; those that aren't there any more have been removed by an attempt before. */
  readonly remove: readonly Candidate[];
  /** Not there. */
  readonly unknown: readonly Candidate[];
  /** In more than one library: they stay. */
  readonly ambiguous: readonly Candidate[];
}

/**
 * An id that is there twice counts once as removed: when its second turn comes it is gone.
 * @param places of the new ids that are there, by id
 */
export function planDeletes(
  candidates: readonly Candidate[],
  places: ReadonlyMap<string, readonly Place[]>,
): DeletePlan {
  const done: Candidate[] = [];
  const remove: Candidate[] = [];
  const unknown: Candidate[] = [];
  const ambiguous: Candidate[] = [];
  const taken = new Set<string>();
  for (const { state, documentId } of candidates) if (state !== "new") taken.add(documentId);
  for (const each of candidates) {
    const { state, documentId } = each;
    const [place, another] = places.get(documentId) ?? [];
    if (state === "done") done.push(each);
    else if (state !== "new") remove.push(each);
    else if (!place || taken.has(documentId)) unknown.push(each);
    else if (another) ambiguous.push(each);
    else {
      taken.add(documentId);
      remove.push({ ...each, ...place });
    }
  }
  return { done, remove, unknown, ambiguous };
}

/** What is to be removed, by library. */
export function byLibrary(candidates: readonly Candidate[]): Map<string, Candidate[]> {
  const libraries = new Map<string, Candidate[]>();
  for (const each of candidates) {
    const gathered = libraries.get(each.libraryId);
    if (gathered) gathered.push(each);
    else libraries.set(each.libraryId, [each]);
  }
  return libraries;
}

/** What a batch_delete makes of a batch of ids, before anything is removed. */

/** One id of the batch. */
export interface Candidate {
  readonly ordinal: number;
  readonly documentId: string;
  readonly title: string;
  /**
   * What an attempt before left of it: `done` is removed and stays so, `begun` may or may not be removed. Of `found` it is
   * known that it is there, of `new` nothing.
   */
  readonly state: "new" | "found" | "begun" | "done";
}

export interface DeletePlan {
  /** Removed already. */
  readonly done: readonly Candidate[];
  /** To be removed; those that aren't there any more have been removed by an attempt before. */
  readonly remove: readonly Candidate[];
  /** Not there. */
  readonly unknown: readonly Candidate[];
}

/**
 * An id that is there twice counts once as removed: when its second turn comes it is gone.
 * @param titles of the new ids that are there, by id
 */
export function planDeletes(
  candidates: readonly Candidate[],
  titles: ReadonlyMap<string, string>,
): DeletePlan {
  const done: Candidate[] = [];
  const remove: Candidate[] = [];
  const unknown: Candidate[] = [];
  const taken = new Set<string>();
  for (const { state, documentId } of candidates) if (state !== "new") taken.add(documentId);
  for (const each of candidates) {
    const { state, documentId } = each;
    const title = titles.get(documentId);
    if (state === "done") done.push(each);
    else if (state !== "new") remove.push(each);
    else if (title === undefined || taken.has(documentId)) unknown.push(each);
    else {
      taken.add(documentId);
      remove.push({ ...each, title });
    }
  }
  return { done, remove, unknown };
}

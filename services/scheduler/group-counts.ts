import { isVisible, type LibraryPatterns } from "../../platform/library-patterns.ts";
import type { Job, JobFilter, JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { JobState } from "./domain/state.ts";
import { libraryKey, patternsOf, SEVERAL_LIBRARIES, type Selection } from "./selection.ts";

/** Jobs with the same type and status. */
export interface Kind {
  readonly type: string;
  readonly status: JobStatus;
}

/** Jobs with the same library, type and status: the unit of totals. Those of several libraries are of one group. */
export interface Group extends Kind {
  readonly libraryId: string;
}

interface Counted extends Group {
  count: number;
}

interface CountedKind extends Kind {
  count: number;
}

/**
 * How many durable jobs each group has; totals of lists and statistics come from here, exact and without a scan. There
 * are few types and statuses but any number of libraries: only a filter by library looks at groups, and only at its own.
 */
export class GroupCounts {
  /** By library, then by type; a row has a place for each status. */
  readonly #libraries = new Map<string, Map<string, (Counted | undefined)[]>>();
  readonly #kinds = new Map<string, (CountedKind | undefined)[]>();
  readonly #changed = new Set<Counted>();

  /** A job went from one state to another; undefined = it was not there, or is gone. */
  move(from: JobState | undefined, to: JobState | undefined): void {
    if (from) this.add(groupOf(from.job), -1);
    if (to) this.add(groupOf(to.job), 1);
  }

  add(group: Group, delta: number): void {
    const counted = this.#group(group);
    counted.count += delta;
    this.#kind(group).count += delta;
    this.#changed.add(counted);
  }

  /**
   * Types and statuses that have jobs and match those of the filter; its library is not looked at. Of jobs of several libraries
   * those alone know who see all.
   */
  matching(
    filter: Pick<JobFilter, "statuses" | "types"> | undefined,
    visible: LibraryPatterns = [],
  ): CountedKind[] {
    if (visible.length > 0) return this.#visible(filter, visible);
    const matches: CountedKind[] = [];
    for (const byStatus of this.#kinds.values()) {
      for (const kind of byStatus)
        if (kind && kind.count > 0 && kindMatches(kind, filter)) matches.push(kind);
    }
    return matches;
  }

  /** Jobs that match status, type and library of the selection, without those of several where only some are visible. */
  total(selection: Selection | undefined): number {
    const visible = patternsOf(selection);
    if (!selection || selection.libraryId === "") return sum(this.matching(selection, visible));
    const { libraryId } = selection;
    if (libraryId === SEVERAL_LIBRARIES || !isVisible(visible, libraryId)) return 0;
    return this.#totalOf(libraryId, selection);
  }

  /** Jobs of several libraries that match status and type. */
  ofSeveral(selection: Selection | undefined): number {
    return this.#totalOf(SEVERAL_LIBRARIES, selection);
  }

  #totalOf(library: string, filter: JobFilter | undefined): number {
    let total = 0;
    for (const byStatus of this.#libraries.get(library)?.values() ?? []) {
      for (const group of byStatus) if (group && kindMatches(group, filter)) total += group.count;
    }
    return total;
  }

  #visible(
    filter: Pick<JobFilter, "statuses" | "types"> | undefined,
    visible: LibraryPatterns,
  ): CountedKind[] {
    const kinds = new Map<string, CountedKind>();
    for (const [library, types] of this.#libraries) {
      if (library === SEVERAL_LIBRARIES || !isVisible(visible, library)) continue;
      for (const group of [...types.values()].flat()) {
        if (!group || group.count === 0 || !kindMatches(group, filter)) continue;
        const { type, status, count } = group;
        const key = `${status} ${type}`;
        kinds.set(key, { type, status, count: count + (kinds.get(key)?.count ?? 0) });
      }
    }
    return [...kinds.values()];
  }

  /** Groups that changed since the last call; those without jobs are forgotten, so it has to be called now and then. */
  takeChanged(): Counted[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const group of changed) if (group.count === 0) this.#forget(group);
    return changed;
  }

  #group({ libraryId, type, status }: Group): Counted {
    let types = this.#libraries.get(libraryId);
    if (!types) {
      types = new Map();
      this.#libraries.set(libraryId, types);
    }
    let byStatus = types.get(type);
    if (!byStatus) {
      byStatus = [];
      types.set(type, byStatus);
    }
    const found = byStatus[status];
    if (found) return found;
    const counted = { libraryId, type, status, count: 0 };
    byStatus[status] = counted;
    return counted;
  }

  #kind({ type, status }: Kind): CountedKind {
    let byStatus = this.#kinds.get(type);
    if (!byStatus) {
      byStatus = [];
      this.#kinds.set(type, byStatus);
    }
    const found = byStatus[status];
    if (found) return found;
    const kind = { type, status, count: 0 };
    byStatus[status] = kind;
    return kind;
  }

  #forget({ libraryId, type, status }: Group): void {
    const types = this.#libraries.get(libraryId);
    const byStatus = types?.get(type);
    if (!types || !byStatus) return;
    byStatus[status] = undefined;
    if (byStatus.some((group) => group !== undefined)) return;
    types.delete(type);
    if (types.size === 0) this.#libraries.delete(libraryId);
  }
}

/** Nearly every job names its group itself. */
function groupOf(job: Job): Group {
  const libraryId = libraryKey(job);
  return libraryId === job.libraryId ? job : { libraryId, type: job.type, status: job.status };
}

function sum(counted: readonly { readonly count: number }[]): number {
  return counted.reduce((total, { count }) => total + count, 0);
}

function kindMatches(kind: Kind, filter: Pick<JobFilter, "statuses" | "types"> | undefined): boolean {
  if (!filter) return true;
  if (filter.statuses.length > 0 && !filter.statuses.includes(kind.status)) return false;
  return filter.types.length === 0 || filter.types.includes(kind.type);
}

export function groupMatches(group: Group, filter: JobFilter | undefined): boolean {
  if (!filter) return true;
  return kindMatches(group, filter) && (filter.libraryId === "" || filter.libraryId === group.libraryId);
}

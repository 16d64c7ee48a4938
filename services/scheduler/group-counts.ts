import type { JobFilter, JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { JobState } from "./domain/state.ts";

/** Jobs with the same library, type and status; the index of lists and the unit of totals. */
export interface Group {
  readonly libraryId: string;
  readonly type: string;
  readonly status: JobStatus;
}

export function groupOf(state: JobState): Group {
  const { libraryId, type, status } = state.job;
  return { libraryId, type, status };
}

interface Counted extends Group {
  count: number;
}

/** How many durable jobs each group has; totals of lists and statistics come from here, exact and without a scan. */
export class GroupCounts {
  readonly #groups = new Map<string, Counted>();
  readonly #changed = new Set<Counted>();

  /** A job went from one state to another; undefined = it was not there, or is gone. */
  move(from: JobState | undefined, to: JobState | undefined): void {
    if (from) this.add(groupOf(from), -1);
    if (to) this.add(groupOf(to), 1);
  }

  add(group: Group, delta: number): void {
    const key = `${group.status}/${group.type}/${group.libraryId}`;
    let counted = this.#groups.get(key);
    if (!counted) {
      counted = { ...group, count: 0 };
      this.#groups.set(key, counted);
    }
    counted.count += delta;
    this.#changed.add(counted);
  }

  /** Groups that have jobs and match status, type and library of the filter. */
  matching(filter: JobFilter | undefined): Counted[] {
    const matches: Counted[] = [];
    for (const group of this.#groups.values()) {
      if (group.count > 0 && groupMatches(group, filter)) matches.push(group);
    }
    return matches;
  }

  /** The same with those that have become empty: on disk their jobs may still be listed there. */
  known(filter: JobFilter | undefined): Group[] {
    return [...this.#groups.values()].filter((group) => groupMatches(group, filter));
  }

  total(filter: JobFilter | undefined): number {
    return this.matching(filter).reduce((sum, group) => sum + group.count, 0);
  }

  /** Groups that changed since the last call. */
  takeChanged(): Counted[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const group of changed) {
      if (group.count === 0) this.#groups.delete(`${group.status}/${group.type}/${group.libraryId}`);
    }
    return changed;
  }
}

export function groupMatches(group: Group, filter: JobFilter | undefined): boolean {
  if (!filter) return true;
  if (filter.statuses.length > 0 && !filter.statuses.includes(group.status)) return false;
  if (filter.types.length > 0 && !filter.types.includes(group.type)) return false;
  return filter.libraryId === "" || filter.libraryId === group.libraryId;
}

/**
 * The fence of a library against a job's older leases: one row per job. Pure: the caller reads and writes the row in
 * the transaction that changes the library.
 */

/** What a library remembers of a job. */
export interface FenceRow {
  /** Highest lease seen. */
  readonly lease: bigint;
  /** False once EndLease closed it. */
  readonly open: boolean;
  /** Unix ms of the last change. */
  readonly atMs: number;
}

/** Why a call is refused; undefined row = nothing is known of the job. */
export type FenceRefusal = "older" | "closed" | "not begun";

export type BeginDecision =
  | { readonly row: FenceRow; readonly refused?: undefined }
  | { readonly refused: FenceRefusal; readonly row?: undefined };

/** Closed rows are forgotten after this long; no lease lives as long. */
export const CLOSED_ROW_TTL_MS = 24 * 60 * 60 * 1000;

/** Opens the fence at `lease`; the same open lease again is fine. */
export function beginLease(row: FenceRow | undefined, lease: bigint, nowMs: number): BeginDecision {
  if (row && lease < row.lease) return { refused: "older" };
  if (row && lease === row.lease && !row.open) return { refused: "closed" };
  return { row: { lease, open: true, atMs: nowMs } };
}

/** The row that closes the fence at `lease`; undefined = the row stays as it is (a newer lease has it, or closed). */
export function endLease(row: FenceRow | undefined, lease: bigint, nowMs: number): FenceRow | undefined {
  if (row && (row.lease > lease || (row.lease === lease && !row.open))) return undefined;
  return { lease, open: false, atMs: nowMs };
}

/** Why a mutation under `lease` must not happen; undefined = it may. */
export function refuseMutation(row: FenceRow | undefined, lease: bigint): FenceRefusal | undefined {
  if (!row || lease > row.lease) return "not begun";
  if (lease < row.lease) return "older";
  return row.open ? undefined : "closed";
}

/** A closed row that no lease can ask for any more. */
export function isForgotten(row: FenceRow, nowMs: number): boolean {
  return !row.open && nowMs - row.atMs >= CLOSED_ROW_TTL_MS;
}

/** Who calls: decided by the guard from the credentials, used by what answers. */

/** What one may do, each with all of those before it. */
export const ROLES = ["viewer", "submitter", "admin"] as const;
export type Role = (typeof ROLES)[number];

export interface Principal {
  /** For logs and limits: the key's name, the token's subject; of clients without credentials their address. */
  readonly name: string;
  readonly role: Role;
  /** Ids of libraries, a trailing * standing for whatever follows; undefined = not confined. */
  readonly libraries: readonly string[] | undefined;
}

/** The patterns that scheduler and index are told, which take none as all. */
export function visibleLibraries({ libraries }: Principal): string[] {
  if (libraries === undefined) return [];
  return libraries.length === 0 ? [SEES_NONE] : [...libraries];
}

/** A pattern that no library has. */
const SEES_NONE = "";

/** Whether a job is there for the principal: of one with several libraries it sees all. */
export function seesJob(
  principal: Principal,
  { libraryId, libraryIds }: { readonly libraryId: string; readonly libraryIds: readonly string[] },
): boolean {
  if (principal.libraries === undefined) return true;
  if (libraryId !== "") return sees(principal, libraryId);
  return libraryIds.length > 0 && libraryIds.every((each) => sees(principal, each));
}

/** Whether the library is there for the principal; a job without one has the id "", which only the unconfined see. */
export function sees({ libraries }: Principal, libraryId: string): boolean {
  if (libraries === undefined) return true;
  if (libraryId === "") return false;
  return libraries.some((pattern) =>
    pattern.endsWith("*") ? libraryId.startsWith(pattern.slice(0, -1)) : libraryId === pattern,
  );
}

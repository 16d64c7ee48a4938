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

/** Whether the library is there for the principal; a job without one has the id "", which only the unconfined see. */
export function sees({ libraries }: Principal, libraryId: string): boolean {
  if (libraries === undefined) return true;
  if (libraryId === "") return false;
  return libraries.some((pattern) =>
    pattern.endsWith("*") ? libraryId.startsWith(pattern.slice(0, -1)) : libraryId === pattern,
  );
}

/** Which libraries somebody may see, as one service tells another: patterns of ids. */

/** Ids, a trailing * standing for whatever follows. Of no patterns all are seen, of [""] none. */
export type LibraryPatterns = readonly string[];

/** Whether the library is seen; "" stands for no library, which only those see who see all. */
export function isVisible(patterns: LibraryPatterns, libraryId: string): boolean {
  if (patterns.length === 0) return true;
  if (libraryId === "") return false;
  return patterns.some((pattern) =>
    pattern.endsWith("*") ? libraryId.startsWith(pattern.slice(0, -1)) : libraryId === pattern,
  );
}

/** Whether a job is seen: its library is, or all of them are where it has several. */
export function isJobVisible(
  patterns: LibraryPatterns,
  job: { readonly libraryId: string; readonly libraryIds: readonly string[] },
): boolean {
  if (patterns.length === 0) return true;
  const { libraryId, libraryIds } = job;
  if (libraryId !== "") return isVisible(patterns, libraryId);
  return libraryIds.length > 0 && libraryIds.every((each) => isVisible(patterns, each));
}

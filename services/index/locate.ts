import { setImmediate as nextTurn } from "node:timers/promises";
import { ArrwError } from "../../platform/errors.ts";
import { isVisible } from "../../platform/library-patterns.ts";
import type {
  LocateDocumentsRequest,
  LocateDocumentsResponse,
  LocatedDocuments,
} from "../../proto/gen/arrwdb/index/v1/index.ts";
import type { LibraryRow } from "./catalog.ts";
import type { Libraries } from "./libraries.ts";
import { pageToken, readPageToken } from "./page-token.ts";
import { Checks } from "./validate.ts";

/** LocateDocuments: which libraries have which documents. */

const MAX_LIBRARIES = 100;
const MAX_DOCUMENTS = 1_000;
/** Libraries known at a time. */
const READ_AHEAD = 500;
/** A page ends then. */
const PAGE_MS = 100;
const PAGE_BYTES = 1024 * 1024;
const LIST = "located";

/** @throws ArrwError INVALID_ARGUMENT */
export async function locateDocuments(
  libraries: Libraries,
  request: LocateDocumentsRequest,
): Promise<LocateDocumentsResponse> {
  const { libraryIds, documentIds } = request;
  const checks = new Checks();
  const { length: count } = libraryIds;
  checks.that(count <= MAX_LIBRARIES, "library_ids", `at most ${MAX_LIBRARIES}, got ${count}`);
  const { length: asked } = documentIds;
  checks.that(asked <= MAX_DOCUMENTS, "document_ids", `at most ${MAX_DOCUMENTS}, got ${asked}`);
  checks.done();
  const located: LocatedDocuments[] = [];
  const until = performance.now() + PAGE_MS;
  let first = "";
  let last: LibraryRow | undefined;
  let bytes = 0;
  for (const row of candidates(libraries, request)) {
    if (last && (performance.now() > until || bytes > PAGE_BYTES)) {
      return { libraries: located, nextPageToken: pageToken(LIST, last.name), firstLibraryId: first };
    }
    const found = await locatedIn(libraries, row, documentIds);
    last = row;
    if (!found) continue;
    first ||= row.id;
    if (found.places.length > 0) located.push(found);
    bytes += found.titles.reduce((sum, title) => sum + title.length + 16, 0);
    // One library's look is short, that of many is not.
    await nextTurn();
  }
  return { libraries: located, nextPageToken: "", firstLibraryId: first };
}

/** By name, those behind the token. */
function* candidates(
  libraries: Libraries,
  { libraryIds, visibleLibraries, pageToken: token }: LocateDocumentsRequest,
): Generator<LibraryRow> {
  let after = readPageToken(LIST, token);
  if (libraryIds.length > 0) {
    const rows = [...new Set(libraryIds)].flatMap((id) => libraries.find(id) ?? []);
    rows.sort((a, b) => (a.name < b.name ? -1 : 1));
    yield* rows.filter(({ id, name }) => name > after && isVisible(visibleLibraries, id));
    return;
  }
  for (;;) {
    const rows = libraries.list(after, READ_AHEAD, visibleLibraries);
    yield* rows;
    const last = rows.at(-1);
    if (!last || rows.length < READ_AHEAD) return;
    after = last.name;
  }
}

/** undefined = the library is gone. */
async function locatedIn(
  libraries: Libraries,
  row: LibraryRow,
  documentIds: readonly string[],
): Promise<LocatedDocuments | undefined> {
  try {
    return await libraries.use(row.id, async (library) => ({
      libraryId: row.id,
      ...library.located(documentIds),
    }));
  } catch (error) {
    if (error instanceof ArrwError && error.reason === "LIBRARY_NOT_FOUND") return undefined;
    throw error;
  }
}

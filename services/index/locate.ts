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
const MAX_DOCUMENTS_FIRST_ONLY = 10_000;
/** Looked for in one turn of the event loop. */
const LOOKS_AT_A_TIME = 1_000;
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
  const { libraryIds, documentIds, firstOnly } = request;
  const checks = new Checks();
  const { length: count } = libraryIds;
  checks.that(count <= MAX_LIBRARIES, "library_ids", `at most ${MAX_LIBRARIES}, got ${count}`);
  const { length: asked } = documentIds;
  const most = firstOnly ? MAX_DOCUMENTS_FIRST_ONLY : MAX_DOCUMENTS;
  checks.that(asked <= most, "document_ids", `at most ${most}, got ${asked}`);
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
    const found = await locatedIn(libraries, row, request);
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
    const rows = [...new Set(libraryIds)].flatMap((id) => rowOf(libraries, id) ?? []);
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
  { libraryIds, documentIds, firstOnly }: LocateDocumentsRequest,
): Promise<LocatedDocuments | undefined> {
  const libraryId = row.id;
  try {
    return await libraries.use(
      libraryId,
      async (library) => {
        if (!firstOnly) return { libraryId, ...library.located(documentIds) };
        for (let from = 0; from < documentIds.length; from += LOOKS_AT_A_TIME) {
          const place = library.firstOf(documentIds.slice(from, from + LOOKS_AT_A_TIME));
          if (place >= 0) return { libraryId, places: [from + place], titles: [] };
          await nextTurn();
        }
        return { libraryId, places: [], titles: [] };
      },
      // A look into all of them must not close those that are in use.
      libraryIds.length === 0,
    );
  } catch (error) {
    return ifGone(error);
  }
}

/** By id alone. */
function rowOf(libraries: Libraries, id: string): LibraryRow | undefined {
  try {
    const row = libraries.resolve(id);
    return row.id === id ? row : undefined;
  } catch (error) {
    return ifGone(error);
  }
}

function ifGone(error: unknown): undefined {
  if (error instanceof ArrwError && error.reason === "LIBRARY_NOT_FOUND") return undefined;
  throw error;
}

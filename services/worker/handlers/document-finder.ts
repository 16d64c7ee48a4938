import { ArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import type { IndexServiceClient, ListDocumentsResponse } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import type { Place } from "../domain/delete-plan.ts";

/** Where documents are: in a job's one library, or in any of several. */

/** Calls the index within the attempt's bounds, and again while it is away. */
export type IndexCaller = <T>(
  run: (call: { timeoutMs: number; signal: AbortSignal }) => Promise<T>,
) => Promise<T>;

export type Places = ReadonlyMap<string, readonly Place[]>;

/** @param documentIds at most 1,000 @throws ArrwError */
export async function findInOne(
  index: IndexServiceClient,
  call: IndexCaller,
  libraryId: string,
  documentIds: readonly string[],
): Promise<Places> {
  const places = new Map<string, Place[]>();
  const test = { $case: "in" as const, value: [...documentIds] };
  const filter = { all: [{ field: "document_id", test }] };
  let pageToken = "";
  do {
    const request = { libraryId, filter, pageSize: documentIds.length, pageToken, includeTexts: false };
    const page: ListDocumentsResponse = await call((bounds) =>
      unary(index, index.listDocuments, request, bounds),
    );
    for (const { documentId, title } of page.documents) places.set(documentId, [{ libraryId: "", title }]);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return places;
}

/** Libraries that are gone have none. @param libraryIds at most 100 @param documentIds at most 1,000 @throws ArrwError */
export async function findInSeveral(
  index: IndexServiceClient,
  call: IndexCaller,
  libraryIds: readonly string[],
  documentIds: readonly string[],
): Promise<Places> {
  const places = new Map<string, Place[]>();
  // No ids of libraries would stand for all there are.
  if (libraryIds.length === 0) return places;
  const asked = {
    libraryIds: [...libraryIds],
    documentIds: [...documentIds],
    visibleLibraries: [],
    firstOnly: false,
  };
  let pageToken = "";
  do {
    const request = { ...asked, pageToken };
    const page = await call((bounds) => unary(index, index.locateDocuments, request, bounds));
    for (const { libraryId, places: found, titles } of page.libraries) {
      for (const [at, place] of found.entries()) {
        const documentId = documentIds[place];
        if (documentId === undefined)
          throw new ArrwError("INTERNAL", `the index found document ${place} of fewer`);
        const known = places.get(documentId) ?? [];
        places.set(documentId, known);
        // An id that was asked for twice is in one place.
        if (known.at(-1)?.libraryId !== libraryId) known.push({ libraryId, title: titles[at] ?? "" });
      }
    }
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return places;
}

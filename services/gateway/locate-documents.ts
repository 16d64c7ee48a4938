import { ArrwError, invalidArgument } from "../../platform/errors.ts";
import { unary } from "../../platform/grpc/client.ts";
import { visibleLibraries } from "./domain/principal.ts";
import type { IndexCall, IndexClient } from "./index-client.ts";
import { repeatWhileUnavailable } from "./repeat.ts";

/** That a job may have. */
const MAX_LIBRARIES = 100;

/**
 * The libraries in which any of the documents is, of those that the caller sees. For one who is confined to libraries the
 * first of them stands for all when none has any: the job has to be seen by who made it.
 * @param documentIds at most 10,000 @throws ArrwError INVALID_ARGUMENT: in more than 100 libraries
 */
export async function librariesWith(
  index: IndexClient,
  documentIds: readonly string[],
  call: IndexCall,
): Promise<string[]> {
  const { principal } = call;
  const asked = {
    libraryIds: [],
    visibleLibraries: visibleLibraries(principal),
    documentIds: [...new Set(documentIds)],
    firstOnly: true,
  };
  const found = new Set<string>();
  let first = "";
  let pageToken = "";
  do {
    const request = { ...asked, pageToken };
    const page = await repeatWhileUnavailable(
      () => unary(index.stub, index.stub.locateDocuments, request, call),
      call,
    );
    first ||= page.firstLibraryId;
    for (const { libraryId } of page.libraries) found.add(libraryId);
    if (found.size > MAX_LIBRARIES) throw tooMany();
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  if (found.size > 0 || principal.libraries === undefined) return [...found].sort();
  if (first === "") throw libraryRequired();
  return [first];
}

/** A client that is confined to libraries would not see the job that it made. */
export function libraryRequired(): ArrwError {
  const message = "a client that is confined to libraries submits jobs with a library of its own";
  return new ArrwError("PERMISSION_DENIED", message, { reason: "LIBRARY_REQUIRED" });
}

function tooMany(): ArrwError {
  const description = `needed: documents of these ids are in more than ${MAX_LIBRARIES} libraries; got ""`;
  return invalidArgument([{ field: "library_id", description }]);
}

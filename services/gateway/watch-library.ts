import { encode } from "../../platform/encode.ts";
import { notFound, unavailable } from "../../platform/errors.ts";
import { serverStreamBytes } from "../../platform/grpc/client.ts";
import type { CallContext } from "../../platform/grpc/server.ts";
import { ChangeServiceService, WatchChangesRequest } from "../../proto/gen/arrwdb/index/v1/changes.ts";
import type { WatchLibraryRequest } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { isName } from "./domain/validation/ids.ts";
import type { IndexClient } from "./index-client.ts";
import { isAway } from "./repeat.ts";

/**
 * Encoded WatchLibraryResponses as the index sends them, at the client's pace, until the client or the index goes.
 * @throws ArrwError also UNAVAILABLE when the index goes: the client knows best where it stands, and resumes
 */
export async function* watchLibrary(
  index: IndexClient,
  { libraryId, afterCursor }: WatchLibraryRequest,
  { signal }: CallContext,
): AsyncGenerator<Buffer> {
  if (!isName(libraryId)) throw notFound("library", libraryId);
  const request = encode(WatchChangesRequest, { libraryId, afterCursor });
  const { path } = ChangeServiceService.watchChanges;
  let cause: unknown;
  try {
    yield* serverStreamBytes(index.stub, path, request, { signal, unbounded: true });
  } catch (error) {
    if (signal.aborted || !isAway(error)) throw error;
    cause = error;
  }
  throw unavailable("the index service went away; watch again behind the last cursor", { cause });
}

import { encode } from "../../platform/encode.ts";
import { unavailable } from "../../platform/errors.ts";
import { serverStreamBytes } from "../../platform/grpc/client.ts";
import { ChangeServiceService, WatchChangesRequest } from "../../proto/gen/arrwdb/index/v1/changes.ts";
import type { WatchLibraryRequest } from "../../proto/gen/arrwdb/v1/libraries.ts";
import type { GatewayContext } from "./guard.ts";
import type { IndexClient } from "./index-client.ts";
import { seenLibrary } from "./library-filter.ts";
import { isAway } from "./repeat.ts";

const ASK_TIMEOUT_MS = 5_000;

/**
 * Encoded WatchLibraryResponses as the index sends them, at the client's pace, until the client or the index goes.
 * @throws ArrwError also UNAVAILABLE when the index goes: the client knows best where it stands, and resumes
 */
export async function* watchLibrary(
  index: IndexClient,
  { libraryId: idOrName, afterCursor }: WatchLibraryRequest,
  { signal, principal }: GatewayContext,
): AsyncGenerator<Buffer> {
  // Watches have no deadline.
  const asking = { signal, principal, deadlineMs: Date.now() + ASK_TIMEOUT_MS };
  const libraryId = await seenLibrary(index, idOrName, asking);
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

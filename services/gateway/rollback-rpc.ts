import {
  BuildServiceService,
  RollbackGenerationRequest as IndexRollback,
} from "../../proto/gen/arrwdb/index/v1/builds.ts";
import {
  type RollbackGenerationRequest,
  RollbackGenerationResponse,
} from "../../proto/gen/arrwdb/v1/libraries.ts";
import type { GatewayContext } from "./guard.ts";
import type { IndexClient } from "./index-client.ts";
import { seenLibrary } from "./library-filter.ts";

/** The index's own answer: the library after it. @throws ArrwError */
export async function rollbackGeneration(
  index: IndexClient,
  { libraryId: idOrName }: RollbackGenerationRequest,
  context: GatewayContext,
): Promise<RollbackGenerationResponse> {
  const libraryId = await seenLibrary(index, idOrName, context);
  const request = Buffer.from(IndexRollback.encode({ libraryId }).finish());
  const reply = await index.call(BuildServiceService.rollbackGeneration, request, context);
  const { library } = RollbackGenerationResponse.decode(reply);
  // Its embedding may be another one now.
  for (const known of [library?.libraryId, library?.name]) if (known) index.forget(known);
  return { library };
}

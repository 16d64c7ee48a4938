import { notFound, toArrwError } from "../../platform/errors.ts";
import type { JobFilter } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { isName } from "./domain/validation/ids.ts";
import type { IndexCall, IndexClient } from "./index-client.ts";

/** A library's name becomes its id; an id stays, also when the library is gone: its jobs are still there. */
export async function withLibraryId(
  index: IndexClient,
  filter: JobFilter | undefined,
  call: IndexCall,
): Promise<JobFilter | undefined> {
  if (!filter || !isName(filter.libraryId)) return filter;
  try {
    const { library } = await index.library(filter.libraryId, call);
    return { ...filter, libraryId: library.libraryId };
  } catch (error) {
    if (toArrwError(error).code === "NOT_FOUND") return filter;
    throw error;
  }
}

/**
 * What the index is asked by: the id, where the caller is confined to some libraries; for others it is the index's matter.
 * @throws ArrwError NOT_FOUND, also for a library that the caller doesn't see
 */
export async function seenLibrary(index: IndexClient, idOrName: string, call: IndexCall): Promise<string> {
  if (!isName(idOrName)) throw notFound("library", idOrName);
  if (call.principal.libraries === undefined) return idOrName;
  return (await index.library(idOrName, call)).library.libraryId;
}

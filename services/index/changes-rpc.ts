import { ArrwError, invalidArgument, notFound } from "../../platform/errors.ts";
import { type CallContext, type ImplementedService, implement } from "../../platform/grpc/server.ts";
import {
  ChangeServiceService,
  type WatchChangesRequest,
  type WatchChangesResponse,
} from "../../proto/gen/arrwdb/index/v1/changes.ts";
import type { LibraryRow } from "./catalog.ts";
import { type ChangePosition, formatCursor, parseCursor } from "./domain/change-cursor.ts";
import type { EventPage } from "./event-log.ts";
import type { IndexMetrics } from "./index-metrics.ts";
import type { Libraries } from "./libraries.ts";
import type { Library } from "./library.ts";

/**
 * What happens in libraries, as it happens. Every stream reads the library's events by itself, page by page, as fast as
 * its client takes them. Between two pages the library may be closed: a stream that waits costs next to nothing.
 */
export function changeService(libraries: Libraries, metrics: IndexMetrics): ImplementedService {
  return implement(ChangeServiceService, {
    watchChanges: async function* (request, { signal }) {
      metrics.watchStreams.inc();
      try {
        yield* watchChanges(libraries, request, signal);
      } finally {
        metrics.watchStreams.dec();
      }
    },
  });
}

async function* watchChanges(
  libraries: Libraries,
  { libraryId, afterCursor }: WatchChangesRequest,
  signal: CallContext["signal"],
): AsyncGenerator<WatchChangesResponse> {
  const row = libraries.resolve(libraryId);
  const commits = libraries.commits.listen(row.number);
  try {
    const first: Start =
      afterCursor === "" ? await beginning(libraries, row) : checkedCursor(row, afterCursor);
    let position = first.next;
    if (first.message) yield first.message;
    for (;;) {
      const page = await readPage(libraries, row, position);
      for (const { event, atMs, documentId, generation, next } of page.events) {
        const cursor = formatCursor(row, next);
        yield { cursor, event, at: new Date(atMs), documentId, generation: BigInt(generation) };
      }
      position = page.next;
      if (!page.more) await commits.raised(signal);
    }
  } finally {
    commits.close();
  }
}

interface Start {
  readonly next: ChangePosition;
  /** Tells the client where it is. */
  readonly message?: WatchChangesResponse;
}

/** Behind all that has happened. */
async function beginning(libraries: Libraries, row: LibraryRow): Promise<Start> {
  return libraries.use(row.id, async (library) => {
    const next = same(library, row).events.end;
    const generation = BigInt(library.state.generation);
    const cursor = formatCursor(row, next);
    return { next, message: { cursor, event: "", at: new Date(), documentId: "", generation } };
  });
}

async function readPage(libraries: Libraries, row: LibraryRow, from: ChangePosition): Promise<EventPage> {
  const page = await libraries.use(row.id, (library) => same(library, row).events.read(from));
  if ("events" in page) return page;
  if (!page.oldest) throw notACursor();
  const message = "what follows this cursor is no longer held; list the documents and watch from now";
  throw new ArrwError("OUT_OF_RANGE", message, {
    reason: "CURSOR_EXPIRED",
    metadata: { oldest_cursor: formatCursor(row, page.oldest) },
  });
}

/** One that was made again under the same id is another library. @throws LIBRARY_NOT_FOUND */
function same(library: Library, row: LibraryRow): Library {
  if (library.row.number !== row.number) throw notFound("library", row.id);
  return library;
}

function checkedCursor(row: LibraryRow, cursor: string): Start {
  const next = parseCursor(row, cursor);
  if (!next) throw notACursor();
  return { next };
}

function notACursor(): ArrwError {
  return invalidArgument([{ field: "after_cursor", description: "not a cursor of this library" }]);
}

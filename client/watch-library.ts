import type { LibraryServiceClient } from "../proto/gen/arrwdb/v1/libraries.ts";
import { type ResumeOptions, resumed } from "./resuming.ts";

export interface WatchLibraryOptions extends ResumeOptions {
  /** Go on behind this event; default: from now on. */
  readonly afterCursor?: string;
  /** Called once when the watch stands: what happens later is told. `cursor` is that moment's, or `afterCursor`. */
  readonly onStarted?: (cursor: string) => void;
}

/** One change of a library. */
export interface LibraryEvent {
  /** Where a watch goes on behind this event. */
  readonly cursor: string;
  /** "document.upserted", "document.deleted", "generation.swapped", "generation.rolled_back", ... */
  readonly event: string;
  readonly at: Date;
  /** The document; "" for events of generations. */
  readonly documentId: string;
  /** The generation that was live after the event. */
  readonly generation: bigint;
}

/** See ArrwClient.watchLibrary. */
export async function* watchLibrary(
  stub: LibraryServiceClient,
  libraryId: string,
  options: WatchLibraryOptions,
): AsyncGenerator<LibraryEvent> {
  let afterCursor = options.afterCursor ?? "";
  if (afterCursor !== "") options.onStarted?.(afterCursor);
  const open = stub.watchLibrary.bind(stub);
  for await (const message of resumed((...call) => open({ libraryId, afterCursor }, ...call), options)) {
    const { cursor, event, at, documentId, generation } = message;
    afterCursor = cursor;
    if (event === "") options.onStarted?.(cursor);
    else yield { cursor, event, at: at ?? new Date(0), documentId, generation };
  }
}

import { setImmediate as nextTurn } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { BlockCache } from "./vector-blocks.ts";
import { VectorLibrary } from "./vector-library.ts";
import type { FromThread, ToVectorThread, VectorRequest } from "./vector-protocol.ts";

/** A thread that owns indexes: answers searches, and between them adds what was committed, library by library. */

const PROGRESS_EVERY_MS = 20;

const port = parentPort;
if (!port) throw new Error("vector-thread runs as a worker thread only");
const cache = new BlockCache((workerData as { readonly cacheBytes: number }).cacheBytes);
const libraries = new Map<number, VectorLibrary>();
const reportedAt = new Map<number, number>();
let applying = false;

function send(message: FromThread): void {
  port?.postMessage(message);
}

function report(library: VectorLibrary): void {
  reportedAt.set(library.spec.library, performance.now());
  send({ type: "progress", library: library.spec.library, progress: library.progress });
}

async function apply(): Promise<void> {
  if (applying) return;
  applying = true;
  let behind = [...libraries.values()].filter((library) => library.behind > 0);
  while (behind.length > 0) {
    for (const library of behind) {
      // It may have been closed while another one had its turn.
      if (!libraries.has(library.spec.library)) continue;
      library.applySlice();
      const since = performance.now() - (reportedAt.get(library.spec.library) ?? 0);
      if (library.behind === 0 || since >= PROGRESS_EVERY_MS) report(library);
      // Messages are delivered between turns.
      await nextTurn();
    }
    behind = [...libraries.values()].filter((library) => library.behind > 0);
  }
  applying = false;
}

function known(number: number): VectorLibrary {
  const library = libraries.get(number);
  if (!library) throw new Error(`library ${number} is not open in this thread`);
  return library;
}

async function handle(request: VectorRequest): Promise<unknown> {
  switch (request.type) {
    case "hello":
      return undefined;
    case "open": {
      const library = new VectorLibrary(request.spec, request.snapshot, cache);
      libraries.set(request.spec.library, library);
      library.catchUp();
      void apply();
      return library.progress;
    }
    case "search":
      return known(request.library).search(request.search);
    case "save":
      return known(request.library).save(request.path);
    case "close": {
      const library = known(request.library);
      libraries.delete(request.library);
      reportedAt.delete(request.library);
      await library.close();
      return undefined;
    }
  }
}

port.on("message", (message: ToVectorThread) => {
  if ("id" in message) {
    const { id, request } = message;
    handle(request).then(
      (result) => send({ id, result }),
      (error: unknown) =>
        send({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
    return;
  }
  const library = libraries.get(message.library);
  if (!library) return;
  library.catchUp();
  if (library.behind > 0) void apply();
  else report(library);
});

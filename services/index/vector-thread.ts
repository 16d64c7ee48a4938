import { setImmediate as nextTurn } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { BlockCache } from "./vector-blocks.ts";
import { VectorIndex } from "./vector-index.ts";
import { keyBeyond, probe, recallOf, sampleKeys, trueNeighbours } from "./vector-probe.ts";
import type { FromThread, ToVectorThread, VectorRequest } from "./vector-protocol.ts";

/** A thread that owns indexes: answers searches, and between them adds what was committed, index by index. */

const PROGRESS_EVERY_MS = 20;

const port = parentPort;
if (!port) throw new Error("vector-thread runs as a worker thread only");
const cache = new BlockCache((workerData as { readonly cacheBytes: number }).cacheBytes);
const indexes = new Map<number, VectorIndex>();
const reportedAt = new Map<number, number>();
let applying = false;

function send(message: FromThread): void {
  port?.postMessage(message);
}

function report(index: VectorIndex): void {
  reportedAt.set(index.spec.index, performance.now());
  send({ type: "progress", index: index.spec.index, progress: index.progress });
}

async function apply(): Promise<void> {
  if (applying) return;
  applying = true;
  let behind = [...indexes.values()].filter((index) => index.behind > 0);
  while (behind.length > 0) {
    for (const index of behind) {
      // It may have been closed while another one had its turn.
      if (!indexes.has(index.spec.index)) continue;
      index.applySlice();
      const since = performance.now() - (reportedAt.get(index.spec.index) ?? 0);
      if (index.behind === 0 || since >= PROGRESS_EVERY_MS) report(index);
      // Messages are delivered between turns.
      await nextTurn();
    }
    behind = [...indexes.values()].filter((index) => index.behind > 0);
  }
  applying = false;
}

function known(number: number): VectorIndex {
  const index = indexes.get(number);
  if (!index) throw new Error(`index ${number} is not open in this thread`);
  return index;
}

async function handle(request: VectorRequest): Promise<unknown> {
  switch (request.type) {
    case "hello":
      return undefined;
    case "open": {
      const index = new VectorIndex(request.spec, request.snapshot, cache);
      indexes.set(request.spec.index, index);
      index.catchUp();
      void apply();
      return index.progress;
    }
    case "search":
      return known(request.index).search(request.search);
    case "look": {
      const index = known(request.index);
      index.catchUp();
      return index.progress;
    }
    case "sample": {
      const { count, seed, k, budgetMs, least } = request;
      const index = known(request.index);
      index.catchUp();
      return trueNeighbours(index, sampleKeys(index, count, seed), k, budgetMs, least);
    }
    case "probe":
      return probe(known(request.index), request.keys, request.k, request.ef, request.budgetMs);
    case "recall":
      return recallOf(known(request.index), request.sample, request.answer, request.k);
    case "beyond":
      return keyBeyond(known(request.index), request.max);
    case "save":
      return known(request.index).save(request.path);
    case "close": {
      const index = known(request.index);
      indexes.delete(request.index);
      reportedAt.delete(request.index);
      await index.close();
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
  const index = indexes.get(message.index);
  if (!index) return;
  if (message.type === "serve") return index.serve();
  index.catchUp();
  if (index.behind > 0) void apply();
  else report(index);
});

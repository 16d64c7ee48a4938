import { setImmediate as nextTurn } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { checksum, flushAndRename, structuralFault } from "./snapshot-file.ts";
import { BlockCache } from "./vector-blocks.ts";
import { VectorIndex } from "./vector-index.ts";
import type { FromThread, Progress, SnapshotRequest, ToSnapshotThread } from "./vector-protocol.ts";

/** The thread that makes and checks snapshot files, so that those that serve searches don't wait for a disk. */

const port = parentPort;
if (!port) throw new Error("snapshot-thread runs as a worker thread only");
const cache = new BlockCache((workerData as { readonly cacheBytes: number }).cacheBytes);

async function check({
  path,
  row,
  parameters,
}: SnapshotRequest & { type: "check" }): Promise<string | undefined> {
  try {
    const { bytes, sha256 } = await checksum(path);
    if (bytes !== row.bytes) return `${bytes} bytes instead of ${row.bytes}`;
    if (sha256 !== row.sha256) return "the checksum differs";
    return await structuralFault(path, parameters);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** One build at a time: each holds an index in memory. */
let lastBuild: Promise<unknown> = Promise.resolve();
const wanted = new Map<number, boolean>();

function build(request: SnapshotRequest & { type: "build" }): Promise<Progress> {
  const { index } = request.spec;
  wanted.set(index, true);
  const next = lastBuild.then(() => buildNow(request)).finally(() => wanted.delete(index));
  lastBuild = next.catch(() => undefined);
  return next;
}

async function buildNow(request: SnapshotRequest & { type: "build" }): Promise<Progress> {
  const assertWanted = (): void => {
    if (!wanted.get(request.spec.index)) throw new Error("the build was cancelled");
  };
  assertWanted();
  const index = new VectorIndex(request.spec, request.from, cache);
  try {
    index.catchUp();
    while (index.progress.addedThrough < request.through && index.behind > 0) {
      index.applySlice(request.through);
      // A read transaction must not stay open for the whole build.
      await nextTurn();
      assertWanted();
    }
    return index.save(request.path);
  } finally {
    await index.close();
  }
}

async function handle(request: SnapshotRequest): Promise<unknown> {
  if (request.type === "hello") return undefined;
  if (request.type === "check") return check(request);
  if (request.type === "build") return build(request);
  const fault = await structuralFault(request.from, request.parameters);
  if (fault !== undefined) throw new Error(`the saved index is damaged: ${fault}`);
  const sealed = await checksum(request.from);
  await flushAndRename(request.from, request.to);
  return sealed;
}

function send(message: FromThread): void {
  port?.postMessage(message);
}

port.on("message", (message: ToSnapshotThread) => {
  if ("type" in message) {
    if (wanted.has(message.index)) wanted.set(message.index, false);
    return;
  }
  const { id, request } = message;
  handle(request).then(
    (result) => send({ id, result }),
    (error: unknown) => send({ id, error: error instanceof Error ? error.message : String(error) }),
  );
});

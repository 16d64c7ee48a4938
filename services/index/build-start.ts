import type { BuildHost } from "./build-host.ts";
import { assertMemory, type BuildRequest, plan } from "./build-plan.ts";
import { notNeeded } from "./build-results.ts";
import { type BuildResultRow, type BuildRow, optimizedSince } from "./build-rows.ts";
import type { Generation } from "./generation.ts";
import type { GenerationWriter } from "./generation-writer.ts";
import type { FenceClaim } from "./library-writer.ts";
import { type GenerationRow, readSnapshot, type Store } from "./store.ts";

/**
 * Writes the rows of a new build; or what came of it, when there is nothing to do.
 * @throws LEASE_FENCED, INDEX_MEMORY_LIMIT, INVALID_ARGUMENT
 */
export async function beginBuild(
  host: BuildHost,
  writer: GenerationWriter,
  claim: FenceClaim,
  request: BuildRequest,
): Promise<BuildResultRow | { readonly build: BuildRow; readonly generation: GenerationRow }> {
  const { store, memory } = host;
  const live = host.live();
  const { kind, run, minRecall } = request;
  if (kind === "optimize" && (await isOptimized(store, live, request.submittedAtMs))) {
    const progress = await live.use((index) => index.look());
    const diskBytes = readSnapshot(store, live.row.generation)?.bytes ?? 0;
    const result = notNeeded(claim, kind, live.row, progress, diskBytes);
    await writer.record(claim, run, result);
    host.onBuildEnded({ kind, outcome: "not_needed", seconds: 0, recall: undefined });
    return result;
  }
  const startedAtMs = Date.now();
  const planned = plan(store, live.row, request, startedAtMs);
  await assertMemory(planned, memory);
  await host.markUnsettled();
  // LMDB makes a database outside of transactions only.
  store.vectors(planned.row.vectors);
  return writer.begin(
    claim,
    { kind, run, minRecall, startedAtMs, predictedBytes: planned.predictedBytes },
    (number) => ({ ...planned.row, generation: number }),
    planned.ownSet,
  );
}

async function isOptimized(store: Store, live: Generation, submittedAtMs: number): Promise<boolean> {
  if (live.row.indexType === "flat" || optimizedSince(store, submittedAtMs)) return true;
  return live.use(async (index) => (await index.look()).tombstones === 0);
}

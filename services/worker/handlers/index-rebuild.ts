import {
  type Build,
  BuildKind,
  BuildPhase,
  type BuildServiceClient,
} from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import type { IndexRebuildResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { rebuildResult } from "../domain/build-results.ts";
import type { Handler, JobContext, LeasedJob } from "../handler.ts";
import { BuildSession } from "./build-session.ts";

/** Builds an index of another type or with other parameters beside the live one, and swaps it in. */
export class IndexRebuild implements Handler<"indexRebuild"> {
  readonly type = "index_rebuild";
  readonly kind = "indexRebuild";
  readonly #builds: BuildServiceClient;

  constructor(builds: BuildServiceClient) {
    this.#builds = builds;
  }

  async run(job: LeasedJob<"indexRebuild">, context: JobContext): Promise<IndexRebuildResult> {
    const { indexType, indexConfig, minRecall } = job.spec;
    const wanted = { kind: BuildKind.BUILD_KIND_REBUILD, indexType, indexConfig, minRecall };
    const session = new BuildSession(this.#builds, job, wanted, context);
    return rebuildResult(await session.run((build) => buildStep(session, build)));
  }
}

/** Of a build whose vectors are there: waits, and swaps as soon as it is ready. */
export async function buildStep(session: BuildSession, build: Build): Promise<Build> {
  if (build.phase === BuildPhase.BUILD_PHASE_READY) {
    const swap = await session.swap();
    if (swap.build.phase === BuildPhase.BUILD_PHASE_SWAPPED) return swap.build;
  }
  await session.pause();
  return session.get();
}

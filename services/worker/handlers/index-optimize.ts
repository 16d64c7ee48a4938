import { BuildKind, type BuildServiceClient } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import type { IndexOptimizeResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { optimizeResult } from "../domain/build-results.ts";
import type { Handler, JobContext, LeasedJob } from "../handler.ts";
import { BuildSession, libraryOf } from "./build-session.ts";
import { buildStep } from "./index-rebuild.ts";

/** Builds the index anew without removed vectors, if there are any and no optimize has done it meanwhile. */
export class IndexOptimize implements Handler<"indexOptimize"> {
  readonly type = "index_optimize";
  readonly kind = "indexOptimize";
  readonly #builds: BuildServiceClient;

  constructor(builds: BuildServiceClient) {
    this.#builds = builds;
  }

  async run(job: LeasedJob<"indexOptimize">, context: JobContext): Promise<IndexOptimizeResult> {
    const { library } = libraryOf(job);
    const session = new BuildSession(this.#builds, job, { kind: BuildKind.BUILD_KIND_OPTIMIZE }, context);
    return optimizeResult(await session.run((build) => buildStep(session, build)), library.generation);
  }
}

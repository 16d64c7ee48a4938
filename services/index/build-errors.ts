import { ArrwError } from "../../platform/errors.ts";
import type { FenceClaim } from "./library-writer.ts";

export function buildRunning(jobId: string): ArrwError {
  return new ArrwError("ABORTED", `job ${jobId} is building a generation of this library`, {
    reason: "BUILD_RUNNING",
    metadata: { job_id: jobId },
  });
}

export function buildNotFound({ jobId }: FenceClaim): ArrwError {
  return new ArrwError("NOT_FOUND", `job ${jobId} has no build under this lease`, {
    reason: "BUILD_NOT_FOUND",
  });
}

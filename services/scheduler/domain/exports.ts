import type { Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { Decision, Effect } from "./commands.ts";
import { COMPLETED, isTerminal, type JobState } from "./state.ts";

const TYPE = "batch_export";

/** The file of a job that ended otherwise than COMPLETED, or is deleted, is removed. */
export function removingExport(before: JobState | undefined, decision: Decision): Decision {
  if (!decision.accepted || before?.job.type !== TYPE) return decision;
  const after = decision.state?.job.status;
  const isOver = after === undefined || (isTerminal(after) && after !== COMPLETED);
  if (!isOver || (after !== undefined && isTerminal(before.job.status))) return decision;
  const effect: Effect = { kind: "removeExport", jobId: before.job.jobId };
  return { ...decision, effects: [...decision.effects, effect] };
}

/** Nobody will read the file any more: its time is up, or the job has none to show. */
export function exportIsOver({ status, result }: Pick<Job, "status" | "result">, nowMs: number): boolean {
  if (!isTerminal(status)) return false;
  const exported = result?.result;
  if (status !== COMPLETED || exported?.$case !== "batchExport") return true;
  return (exported.value.expiresAt?.getTime() ?? 0) <= nowMs;
}

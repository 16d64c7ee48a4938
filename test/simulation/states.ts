import { encode } from "../../platform/encode.ts";
import { JobState as JobStateMessage } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import { isTerminal, type JobState } from "../../services/scheduler/domain/state.ts";

/** All that a state says, to compare. */
export function textOf(state: JobState | undefined): string {
  return state ? encode(JobStateMessage, state).toString("latin1") : "";
}

export function isSettled(state: JobState): boolean {
  return isTerminal(state.job.status) && state.fencePending === 0n;
}

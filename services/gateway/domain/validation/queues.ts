import type { SetQueueLimitRequest } from "../../../../proto/gen/arrwdb/v1/queues.ts";
import { JOB_TYPE_NAMES } from "../job-types.ts";
import { type Violation, Violations } from "./violations.ts";

const MAX_RUNNING = 1_000_000;

/** Of PauseQueue and ResumeQueue: "" stands for all types. */
export function checkQueue({ type }: { readonly type: string }): readonly Violation[] {
  const violations = new Violations();
  if (type !== "") violations.oneOf("type", type, JOB_TYPE_NAMES);
  return violations.list;
}

export function checkQueueLimit({ type, maxRunning }: SetQueueLimitRequest): readonly Violation[] {
  const violations = new Violations();
  violations.oneOf("type", type, JOB_TYPE_NAMES);
  violations.integer("max_running", maxRunning, 0, MAX_RUNNING);
  return violations.list;
}

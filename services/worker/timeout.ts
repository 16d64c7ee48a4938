import type { LeaseGrant } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Duration } from "../../proto/gen/google/protobuf/duration.ts";

/** What an attempt may take, from the grant of its lease. */
export interface Timeout {
  readonly ms: number;
  /** For people, when it is up. */
  readonly text: string;
}

/** The earlier of the attempt's own timeout and what is left of the job's; undefined = no bound. */
export function timeoutOf({ executionTimeout, totalTimeout }: LeaseGrant): Timeout | undefined {
  // Nearly all jobs have none.
  if (!executionTimeout && !totalTimeout) return undefined;
  const ofAttemptMs = toMs(executionTimeout);
  const ofJobMs = toMs(totalTimeout);
  return ofJobMs < ofAttemptMs
    ? { ms: ofJobMs, text: "the job ran into its total timeout" }
    : { ms: ofAttemptMs, text: "the attempt ran into its execution timeout" };
}

function toMs(duration: Duration | undefined): number {
  return duration ? Number(duration.seconds) * 1000 + duration.nanos / 1e6 : Number.POSITIVE_INFINITY;
}

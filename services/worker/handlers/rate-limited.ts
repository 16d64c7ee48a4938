import { ArrwError } from "../../../platform/errors.ts";
import { type JobContext, Snooze } from "../handler.ts";

const LEAST_PAUSE_MS = 1_000;

/**
 * What a handler throws for an error: a provider that takes no more calls for a while is no failure, so the job gives
 * its slot back and goes on from its checkpoint after that while.
 */
export function orSnooze(error: unknown, { log }: Pick<JobContext, "log">): unknown {
  if (!(error instanceof ArrwError) || error.reason !== "EMBEDDING_RATE_LIMITED") return error;
  const pauseMs = Math.max(LEAST_PAUSE_MS, error.retryAfterMs ?? 0);
  log.info(`${error.message}: the job goes on in ${Math.ceil(pauseMs / 1_000)} s`);
  return new Snooze(pauseMs);
}

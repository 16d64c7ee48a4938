import type { Outcome } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { toDuration } from "./failure.ts";

export const MAX_OUTCOME_BYTES = 256 * 1024;

/** How an attempt ends. */
export type Ending = NonNullable<Outcome["outcome"]>;

/** @param delayMs when to go on: undefined = at once, else a snooze */
export function givenBack(delayMs: number | undefined): Ending {
  return {
    $case: "released",
    value: { delay: delayMs === undefined ? undefined : toDuration(delayMs) },
  };
}

/** It would not fit into a message, and would be published for ever. */
export function tooLarge(bytes: number): Ending {
  const message = `the result has ${bytes} bytes; at most ${MAX_OUTCOME_BYTES}`;
  return {
    $case: "failed",
    value: {
      error: { code: "RESULT_TOO_LARGE", message, retryable: false },
      retryAfter: undefined,
      timedOut: false,
    },
  };
}

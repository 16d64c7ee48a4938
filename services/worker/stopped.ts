import { ArrwError } from "../../platform/errors.ts";

/**
 * Why an attempt has to end before its time: cancel (asked for), timeout (its execution timeout, or the job's total timeout), drain (the process
 * ends, or shall take no more jobs), cut off (no link to NATS: the lease may pass to another), disowned (the scheduler says the lease isn't ours).
 */
export type StopReason = "cancel" | "timeout" | "drain" | "cut off" | "disowned";

const TEXTS: Record<StopReason, string> = {
  cancel: "the job is to be cancelled",
  timeout: "the attempt ran into its execution timeout",
  drain: "the worker is draining",
  "cut off": "the worker lost its connection to NATS",
  disowned: "the lease has passed to another",
};

/** The reason of an attempt's AbortSignal. */
export class Stopped extends ArrwError {
  readonly why: StopReason;

  constructor(why: StopReason, text: string = TEXTS[why]) {
    super("CANCELLED", text);
    this.name = "Stopped";
    this.why = why;
  }
}

import type { Submission } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { JobError, JobProgress, JobResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { JobState } from "./state.ts";

/** What can be asked of a job. Commands with a lease come from a worker and count only for the current lease. */
export type Command =
  | { readonly kind: "submit"; readonly submission: Submission }
  /** Its time has come: run_at, or the end of its total timeout. */
  | { readonly kind: "due" }
  | { readonly kind: "grant"; readonly lease: bigint; readonly workerId: string }
  | {
      readonly kind: "checkpoint";
      readonly lease: bigint;
      readonly number: number;
      readonly data: Buffer;
      readonly progress: JobProgress | undefined;
    }
  | {
      readonly kind: "complete";
      readonly lease: bigint;
      /** Its worker could not close the lease's fence; so in all that end a lease. Undefined = false. */
      readonly fenceOpen?: boolean;
      readonly result: JobResult | undefined;
      readonly progress: JobProgress | undefined;
    }
  | {
      readonly kind: "fail";
      readonly lease: bigint;
      readonly fenceOpen?: boolean;
      readonly error: JobError;
      /** Delay that the failure asks for; undefined = the backoff. */
      readonly retryAfterMs: number | undefined;
      /** The attempt ran into its execution timeout, or the job into its total timeout. */
      readonly timedOut: boolean;
      /** Random number in [0, 1), for the jitter. */
      readonly random: number;
    }
  | {
      readonly kind: "stopped";
      readonly lease: bigint;
      readonly fenceOpen?: boolean;
      readonly partialResult: JobResult | undefined;
      readonly progress: JobProgress | undefined;
    }
  /** `delayMs` undefined: ready at once (a drain); set: a snooze. */
  | {
      readonly kind: "release";
      readonly lease: bigint;
      readonly fenceOpen?: boolean;
      readonly delayMs: number | undefined;
    }
  /** The worker was lost: no heartbeat within the lease timeout. */
  | { readonly kind: "lose"; readonly lease: bigint }
  | { readonly kind: "requestCancel"; readonly reason: string }
  /** An ended job is to run again, from its start or from its last checkpoint. */
  | {
      readonly kind: "retry";
      readonly fromCheckpoint: boolean;
      /** Only the items that failed; instead of from a checkpoint. Undefined = false. */
      readonly failedItemsOnly?: boolean;
      /** The revision whose end it follows; 0 or undefined = any. A later one: it was retried already. */
      readonly endedRevision?: bigint;
    }
  /** The index has acknowledged that the lease's fence is closed. */
  | { readonly kind: "fenceClosed"; readonly lease: bigint }
  | { readonly kind: "delete" };

/** Why a command changes nothing. */
export type Rejection =
  | "EXISTS" // submit: the job is there
  | "NOT_FOUND" // no such job
  | "STALE_LEASE" // from another than the current lease, or an old checkpoint number
  | "NOT_DUE" // due: its time has not come; grant: its total timeout is up
  | "WRONG_STATE" // the state has no such transition
  | "ALREADY" // the state is already as asked
  | "TERMINAL" // cancel: it ended otherwise
  | "NO_FAILED_ITEMS"; // retry of the failed items: there are none

/** What has to be done outside once the transition is durable. */
export type Effect =
  | { readonly kind: "assign"; readonly workerId: string; readonly state: JobState }
  | { readonly kind: "cancelLease"; readonly workerId: string; readonly lease: bigint }
  | {
      readonly kind: "closeFence";
      readonly libraryIds: readonly string[];
      readonly jobId: string;
      readonly lease: bigint;
    }
  | { readonly kind: "removePayload"; readonly objectId: string }
  /** What became of the job's items. */
  | { readonly kind: "removeItems"; readonly jobId: string }
  /** The file of the job's export. */
  | { readonly kind: "removeExport"; readonly jobId: string };

export type Decision =
  | {
      readonly accepted: true;
      /** The job after the transition; undefined = deleted. */
      readonly state: JobState | undefined;
      /** "" = nothing that clients see: same revision. */
      readonly event: string;
      readonly effects: readonly Effect[];
    }
  | { readonly accepted: false; readonly rejection: Rejection };

/** A schedule: what is asked of the system, what breaks, and when. Plain data, so that a failing one shrinks and prints. */

/** How an attempt ends if nothing comes in between. */
export type Ending =
  | "complete"
  | "fail"
  | "fail for good"
  | "fail, retry after 700 ms"
  | "snooze"
  | "hang"
  | "ignore cancel";

export const ENDINGS: readonly Ending[] = [
  "complete",
  "fail",
  "fail for good",
  "fail, retry after 700 ms",
  "snooze",
  "hang",
  "ignore cancel",
];

export interface JobPlan {
  /** ms from the start at which it is submitted. */
  readonly at: number;
  readonly type: "echo" | "batch_import" | "index_rebuild";
  /** "" = it works on none; exclusive types always have one. */
  readonly library: string;
  /** Time that an attempt takes. */
  readonly ms: number;
  readonly checkpoints: number;
  /** One for each lease; further leases complete. */
  readonly endings: readonly Ending[];
  readonly maxRetries: number;
  readonly withRequestId: boolean;
  readonly delayMs: number;
  /** 0 = none. */
  readonly executionTimeoutMs: number;
  readonly totalTimeoutMs: number;
  /** "" = none. */
  readonly key: string;
  readonly keyLimit: number;
  /** The default policy waits for up to seconds. */
  readonly fastRetries: boolean;
}

/** Numbers of jobs, workers and schedulers are taken modulo how many there are; scheduler 0 is the one that leads. */
export type Action = { readonly at: number } & (
  | { readonly do: "cancel" | "retry" | "retry from checkpoint" | "delete" | "get"; readonly job: number }
  | { readonly do: "submit again"; readonly job: number; readonly newId: boolean }
  | { readonly do: "pause" | "resume"; readonly type: "" | JobPlan["type"] }
  | { readonly do: "limit"; readonly type: JobPlan["type"]; readonly maxRunning: number }
  | {
      readonly do: "kill scheduler";
      readonly which: number;
      readonly ms: number;
      readonly keepStore: boolean;
    }
  | { readonly do: "freeze scheduler" | "stop scheduler"; readonly which: number; readonly ms: number }
  | { readonly do: "cut scheduler"; readonly which: number; readonly ms: number; readonly noticed: boolean }
  | { readonly do: "shift clock"; readonly which: number; readonly ms: number }
  | { readonly do: "lose leader key" }
  | { readonly do: "lose append"; readonly stream: "JOURNAL" | "OUTCOMES"; readonly stored: boolean }
  | {
      readonly do: "kill worker" | "freeze worker" | "drain worker";
      readonly which: number;
      readonly ms: number;
    }
  | { readonly do: "cut worker"; readonly which: number; readonly ms: number; readonly noticed: boolean }
  | { readonly do: "index away" | "break all links"; readonly ms: number }
);

export interface Plan {
  readonly seed: number;
  readonly schedulers: number;
  readonly workers: number;
  readonly slots: number;
  /** Share of core messages that are lost, and that come twice. */
  readonly loss: number;
  readonly duplicates: number;
  /** Time that the journal takes to store a batch, beside the network. */
  readonly journalMs: number;
  /** Ended jobs kept. */
  readonly keepJobs: number;
  /** Bound of the journal; a small one is compacted all the time. */
  readonly journalBytes: number;
  readonly jobs: readonly JobPlan[];
  readonly actions: readonly Action[];
}

/** Within this time everything is asked and broken; what is broken then is mended. */
export const FAULTS_MS = 6_000;

/**
 * What a torture run saw, as plain data: one JSON object a line on disk, one `Entry` in memory. Times are Unix ms of a
 * monotonic clock of the run; revisions, leases and sequences are small enough for numbers.
 */

export type Status =
  | "UNSPECIFIED"
  | "PENDING"
  | "SCHEDULED"
  | "BLOCKED"
  | "RUNNING"
  | "COMPLETED"
  | "FAILED"
  | "CANCELLED";

export interface ImportCounts {
  readonly imported: number;
  readonly failed: number;
  readonly chunks: number;
}

/** What the checks need of a job; `fingerprint` covers all of it but progress and waiting_for. */
export interface JobView {
  readonly jobId: string;
  readonly type: string;
  readonly status: Status;
  readonly revision: number;
  readonly libraryId: string;
  readonly requestId: string;
  /** The label that names the body it was submitted with. */
  readonly body: string;
  readonly attempt: number;
  readonly retries: number;
  readonly maxRetries: number;
  readonly losses: number;
  readonly workerId: string;
  readonly cancelRequested: boolean;
  /** "" = no error. */
  readonly errorCode: string;
  readonly createdAtMs: number;
  readonly startedAtMs: number | undefined;
  readonly completedAtMs: number | undefined;
  readonly totalTimeout: boolean;
  /** "" = none. */
  readonly concurrencyKey: string;
  readonly concurrencyLimit: number;
  readonly itemCount: number;
  readonly result: ImportCounts | undefined;
  readonly fingerprint: string;
}

export interface RecordView {
  readonly jobId: string;
  readonly revision: number;
  /** "" = the job was written again, nothing has happened that clients see. */
  readonly event: string;
  readonly atMs: number;
  /** The lease that is current after the record; 0 = none. */
  readonly lease: number;
  readonly fencePending: number;
  readonly checkpointNumber: number;
  /** undefined = the job is deleted. */
  readonly job: JobView | undefined;
}

/** One message of JOURNAL. */
export interface BatchEntry {
  readonly kind: "batch";
  readonly sequence: number;
  /** 0 in a batch that begins an epoch. */
  readonly epoch: number;
  readonly outcomesThrough: number;
  readonly lastLease: number;
  /** Address of the leader that took over with this batch; "" in any other. */
  readonly leader: string;
  readonly records: readonly RecordView[];
}

export type Report = "completed" | "failed" | "cancelled" | "released" | "checkpoint";

/** One outcome: of a message stored in OUTCOMES, or (sequence 0) of one that a worker was seen sending. */
export interface OutcomeEntry {
  readonly kind: "outcome";
  readonly sequence: number;
  readonly seenAtMs: number;
  readonly workerId: string;
  readonly jobId: string;
  readonly lease: number;
  readonly report: Report;
  readonly checkpointNumber: number;
}

export type CallName = "submit" | "import" | "cancel" | "get" | "retry" | "delete";

/** One call from its start to its reply or error; with an error such as UNAVAILABLE its effect is unknown. */
export interface CallEntry {
  readonly kind: "call";
  readonly id: number;
  readonly call: CallName;
  readonly startMs: number;
  readonly endMs: number;
  /** The job it names; "" for a submit. */
  readonly jobId: string;
  readonly requestId: string;
  readonly body: string;
  readonly reply: JobView | undefined;
  /** Status code of a call that failed; "" = it did not. */
  readonly code: string;
  readonly reason: string;
  readonly message: string;
}

/** One unbroken WatchJob stream. */
export interface WatchEntry {
  readonly kind: "watch";
  readonly jobId: string;
  readonly afterRevision: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly jobs: readonly JobView[];
  /** "OK", or the status code that ended it. */
  readonly end: string;
}

export interface WatchedEvent {
  readonly cursor: string;
  readonly event: string;
  readonly atMs: number;
  readonly jobId: string;
  readonly revision: number;
  /** undefined = the event came without a job. */
  readonly fingerprint: string | undefined;
}

/** One unbroken WatchJobs stream; the next one goes on behind its last cursor. */
export interface EventsEntry {
  readonly kind: "events";
  readonly afterCursor: string;
  readonly events: readonly WatchedEvent[];
  readonly end: string;
}

export interface FaultEntry {
  readonly kind: "fault";
  readonly fault: string;
  readonly target: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly detail: string;
}

/** A process ended that nobody had killed. */
export interface ExitEntry {
  readonly kind: "exit";
  readonly process: string;
  readonly atMs: number;
  /** It had been ready before. */
  readonly wasReady: boolean;
  readonly how: string;
  readonly lastLines: readonly string[];
}

/** An import that was asked for: the body's name is the tag in its documents' texts. */
export interface ImportEntry {
  readonly kind: "importBody";
  readonly body: string;
  readonly libraryId: string;
  readonly documentIds: readonly string[];
  readonly chunksPerDocument: number;
}

export interface StoredDocument {
  readonly documentId: string;
  /** Bodies whose texts it holds: one, unless something is badly wrong. */
  readonly bodies: readonly string[];
  readonly chunks: number;
}

/** A library when the dust has settled. */
export interface LibraryEntry {
  readonly kind: "library";
  readonly libraryId: string;
  readonly documentCount: number;
  readonly chunkCount: number;
  readonly documents: readonly StoredDocument[];
}

/** All jobs as ListJobs shows them when the dust has settled. */
export interface FinalEntry {
  readonly kind: "final";
  readonly jobs: readonly JobView[];
  readonly totalSize: number;
  /** Time that the dust took to settle after the last fault. */
  readonly settledAfterMs: number;
  /** Why it did not settle in time; "" = it did. */
  readonly unsettled: string;
  /** Slots of each worker process. */
  readonly workerSlots: number;
  /** WatchJobs was there and was read to the end. */
  readonly eventsComplete: boolean;
}

export type Entry =
  | BatchEntry
  | OutcomeEntry
  | CallEntry
  | WatchEntry
  | EventsEntry
  | FaultEntry
  | ExitEntry
  | ImportEntry
  | LibraryEntry
  | FinalEntry;

export type EntryOf<K extends Entry["kind"]> = Extract<Entry, { kind: K }>;

/** Something that must not be, with the entries that show it. */
export interface Violation {
  /** The name of the check. */
  readonly check: string;
  readonly message: string;
  readonly evidence: readonly unknown[];
}

export const TERMINAL: ReadonlySet<Status> = new Set(["COMPLETED", "FAILED", "CANCELLED"]);

export function isTerminal(job: Pick<JobView, "status">): boolean {
  return TERMINAL.has(job.status);
}

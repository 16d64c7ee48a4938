/** A job as the HTTP API shows it, made of the JSON of arrwdb.v1.Job. */

type Json = { readonly [name: string]: unknown };

/** What clients that only want to know whether to wait tell apart; `state` says it exactly. */
export const STATUS_WORDS = ["pending", "running", "completed", "failed", "cancelled"] as const;
export type StatusWord = (typeof STATUS_WORDS)[number];

/** States that show as pending. */
export const PENDING_STATES = ["pending", "scheduled", "blocked"] as const;

export interface JobView {
  readonly job_id: string;
  readonly job_type: string;
  readonly status: StatusWord;
  readonly created_at: unknown;
  readonly started_at: unknown;
  readonly completed_at: unknown;
  /** null: it works on none. */
  readonly library_id: string | null;
  /** Of its type; null until there is one. */
  readonly result: unknown;
  /** The last failure's message; null = none. */
  readonly error: string | null;
  readonly progress: unknown;
  readonly retries: unknown;
  readonly max_retries: unknown;
  /** pending, scheduled, blocked, running, completed, failed, cancelled. */
  readonly state: string;
  /** {code, message, retryable} of the last failure. */
  readonly error_details: unknown;
  /** The other fields of the Job, `spec` being that of its type. */
  readonly [field: string]: unknown;
}

const NO_PROGRESS = { current: 0, total: 0, message: "", percentage: 0 };

export function viewOfJob(job: Json): JobView {
  const { job_id, type, status, created_at, started_at, completed_at, library_id } = job;
  const { result, error, progress, retries, max_retries, spec, ...others } = job;
  const { type: _type, status: _status, ...further } = others;
  const state = String(status);
  const failure = error as { readonly message: string } | null;
  return {
    job_id: String(job_id),
    job_type: String(type),
    status: statusWord(state),
    created_at,
    started_at,
    completed_at,
    library_id: library_id === "" ? null : String(library_id),
    result: onlyField(result),
    error: failure?.message ?? null,
    progress: progress ?? NO_PROGRESS,
    retries,
    max_retries,
    state,
    error_details: failure,
    ...without(further, ["job_id", "created_at", "started_at", "completed_at", "library_id"]),
    spec: onlyField(spec),
  };
}

/**
 * What a submit answers: "Batch import job submitted (100 documents)". The job is pending as submitted, even if a worker
 * has it by now; one that has ended was submitted before, with the same request_id.
 */
export function viewOfSubmitted(job: Json): { job_id: string; status: StatusWord; message: string } {
  const type = String(job.type);
  const count = Number(job.item_count);
  const items = count > 0 ? ` (${count} ${count === 1 ? "document" : "documents"})` : "";
  const words = type.replaceAll("_", " ");
  const message = `${words.slice(0, 1).toUpperCase()}${words.slice(1)} job submitted${items}`;
  const status = statusWord(String(job.status));
  return { job_id: String(job.job_id), status: status === "running" ? "pending" : status, message };
}

/** Counts by the words that a view has; `num_workers` is how many jobs can run at a time. */
export function viewOfQueue(stats: Json): Json {
  const sum = (...names: readonly string[]) => names.reduce((all, name) => all + Number(stats[name]), 0);
  return {
    total_jobs: stats.total_jobs,
    completed_jobs: stats.completed_jobs,
    failed_jobs: stats.failed_jobs,
    pending_jobs: sum("pending_jobs", "scheduled_jobs", "blocked_jobs"),
    running_jobs: stats.running_jobs,
    queue_size: stats.queue_size,
    num_workers: stats.slots,
    running: stats.running,
  };
}

/** The states that a list of words asks for, each where its word was; the further ones of pending come last. */
export function statesOf(words: readonly unknown[]): readonly unknown[] {
  const further = words.includes("pending") ? PENDING_STATES.filter((state) => !words.includes(state)) : [];
  return [...words, ...further];
}

function statusWord(state: string): StatusWord {
  if ((PENDING_STATES as readonly string[]).includes(state)) return "pending";
  return STATUS_WORDS.find((word) => word === state) ?? "pending";
}

/** Of a spec or a result that of the job's type, whose name the job has already. */
function onlyField(message: unknown): unknown {
  if (typeof message !== "object" || message === null) return null;
  return Object.values(message)[0] ?? null;
}

function without(json: Json, names: readonly string[]): Json {
  return Object.fromEntries(Object.entries(json).filter(([name]) => !names.includes(name)));
}

import type { Logger } from "../../platform/log.ts";
import type { LeaseGrant } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { LOG_LEVELS, type LogFields, type LogLevel, logLines } from "./domain/log-line.ts";
import type { JobLog } from "./handler.ts";
import type { JobLogs } from "./job-logs.ts";
import type { LeaseLog } from "./lease-log.ts";

export interface AttemptLogOptions {
  readonly log: Logger;
  readonly logs: Pick<JobLogs, "open">;
  /** Lines below it are not kept in the job's log. */
  readonly logLevel: LogLevel;
}

/**
 * What a handler logs goes to the process's log and into the job's own, until its attempt has ended. What is above a
 * job's rate goes to neither.
 */
export class AttemptLog implements JobLog {
  readonly #grant: LeaseGrant;
  readonly #options: AttemptLogOptions;
  #process: Logger | undefined;
  #job: LeaseLog | undefined;
  #ended = false;

  constructor(grant: LeaseGrant, options: AttemptLogOptions) {
    this.#grant = grant;
    this.#options = options;
  }

  /** The process's log, bound to the job and the lease. */
  get process(): Logger {
    if (!this.#process) {
      const { jobId, lease, libraryId, type } = this.#grant;
      const library = libraryId === "" ? {} : { library_id: libraryId };
      this.#process = this.#options.log.child({ job_id: jobId, lease: Number(lease), type, ...library });
    }
    return this.#process;
  }

  debug(first: LogFields | string, message?: string): void {
    this.#write("debug", first, message);
  }

  info(first: LogFields | string, message?: string): void {
    this.#write("info", first, message);
  }

  warn(first: LogFields | string, message?: string): void {
    this.#write("warn", first, message);
  }

  error(first: LogFields | string, message?: string): void {
    this.#write("error", first, message);
  }

  /** Something that users of the job shall know of its attempt. */
  note(level: LogLevel, text: string): void {
    if (this.#isKept(level)) this.#lines().add(level, logLines(text), true);
  }

  /** What was logged so far is sent at once. */
  flush(): void {
    this.#job?.seal();
  }

  /** The same, and nothing is taken any more. */
  end(): void {
    this.#ended = true;
    this.#job?.end();
  }

  /** Never throws. */
  #write(level: LogLevel, first: LogFields | string, second = ""): void {
    const isShown = this.#options.log.isLevelEnabled(level);
    const isKept = !this.#ended && this.#isKept(level);
    if (!isShown && !isKept) return;
    const [fields, message] = typeof first === "string" ? [{}, first] : [first, second];
    try {
      const given = fields instanceof Error ? { err: fields } : fields;
      if (isKept && !this.#lines().add(level, logLines(message, given))) return;
      if (isShown) this.process[level](given, message);
    } catch (error) {
      // A value that can't be shown must not fail the job.
      this.process.warn({ err: error }, "a line of the handler can't be logged");
    }
  }

  #isKept(level: LogLevel): boolean {
    return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(this.#options.logLevel);
  }

  #lines(): LeaseLog {
    this.#job ??= this.#options.logs.open(this.#grant);
    return this.#job;
  }
}

import { encode } from "../../platform/encode.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Stream, Subject } from "../../platform/nats/names.ts";
import { GetJobLogsResponse, type JobAttempt } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { JobLogBatch } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { isForeign, LOG_START, type LogMessage, LogPosition, NewestLines } from "./domain/job-log.ts";

/** A part of a job's log, each line an encoded GetJobLogsResponse. */
export interface LogPart {
  readonly lines: readonly Buffer[];
  readonly position: LogPosition;
}

const READS_AT_A_TIME = 16;
const STALL_MS = 5_000;

/** Reads the logs of jobs as they are stored. Those who want the same while it is read share the next read. */
export class LogReader {
  readonly #nats: Pick<Nats, "getMessage" | "readSubject">;
  readonly #running = new Map<string, Promise<LogPart>>();
  readonly #next = new Map<string, Promise<LogPart>>();
  readonly #waiting: (() => void)[] = [];
  #reads = 0;

  constructor(nats: Pick<Nats, "getMessage" | "readSubject">) {
    this.#nats = nats;
  }

  /**
   * The newest lines behind a position, as of now or later; those of leases that aren't the job's are left out.
   * @throws ArrwError UNAVAILABLE
   */
  read(jobId: string, from: LogPosition, attempts: readonly JobAttempt[]): Promise<LogPart> {
    const key = `${jobId} ${from}`;
    const running = this.#running.get(key);
    if (!running) {
      const reading = this.#inTurn(() => this.#read(jobId, from, attempts)).finally(() =>
        this.#running.delete(key),
      );
      this.#running.set(key, reading);
      return reading;
    }
    let next = this.#next.get(key);
    if (!next) {
      next = running
        .then(() => undefined)
        .catch(() => undefined)
        .then(() => {
          this.#next.delete(key);
          return this.read(jobId, from, attempts);
        });
      this.#next.set(key, next);
    }
    return next;
  }

  async #inTurn<T>(run: () => Promise<T>): Promise<T> {
    if (this.#reads >= READS_AT_A_TIME) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#reads += 1;
    try {
      return await run();
    } finally {
      // The place goes to the next in line, or becomes free.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#reads -= 1;
    }
  }

  async #read(jobId: string, from: LogPosition, attempts: readonly JobAttempt[]): Promise<LogPart> {
    const subject = Subject.jobLog(jobId);
    const last = await this.#nats.getMessage(Stream.logs, { lastBySubject: subject });
    if (!last) return { lines: [], position: LOG_START };
    // A cursor behind the end comes from a stream that was made anew since.
    let position = last.sequence < from.sequence ? LOG_START : from;
    const newest = new NewestLines<Buffer>();
    const onMessage = (message: { readonly sequence: number; readonly data: Uint8Array }): void => {
      const read = readLogMessage(jobId, message);
      if (!read || isForeign(read.lease, attempts)) return;
      const taken = position.take(read);
      position = taken.position;
      for (const line of taken.lines) newest.push(line);
    };
    if (last.sequence === position.sequence) onMessage(last);
    else {
      const range = { from: position.sequence, to: last.sequence };
      await this.#nats.readSubject(Stream.logs, subject, range, onMessage, STALL_MS);
    }
    return { lines: newest.lines, position };
  }
}

/** Undefined when it isn't a message of this job's log. */
export function readLogMessage(
  jobId: string,
  { sequence, data }: { readonly sequence: number; readonly data: Uint8Array },
): LogMessage<Buffer> | undefined {
  const batch = decoded(data);
  if (batch?.jobId !== jobId) return undefined;
  const { lease, attempt, firstLine } = batch;
  const lines = batch.lines.map(({ at, level, text }, index) => {
    const cursor = String(new LogPosition(sequence, lease, firstLine + index + 1));
    return encode(GetJobLogsResponse, { at, level, attempt, line: text, cursor });
  });
  return { sequence, lease, firstLine, lines };
}

function decoded(data: Uint8Array): JobLogBatch | undefined {
  try {
    return JobLogBatch.decode(data);
  } catch {
    return undefined;
  }
}

import { type DestinationStream, type Logger, pino } from "pino";

export type { Logger } from "pino";

/**
 * JSON lines on stdout, or where `destination` writes them. Bind `job_id`, `lease` and `library_id` with
 * `log.child({...})` where they are known.
 */
export function createLog(service: string, level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: { service, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

/** stdout for a log whose process may be killed right after a line: what was logged has been written. */
export function unbufferedStdout(): DestinationStream {
  return pino.destination({ dest: 1, sync: true });
}

/** Swallows everything; for tests. */
export function silentLog(): Logger {
  return pino({ level: "silent" });
}

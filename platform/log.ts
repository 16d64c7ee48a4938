import { type Logger, pino } from "pino";

export type { Logger } from "pino";

/** JSON lines on stdout. Bind `job_id`, `lease` and `library_id` with `log.child({...})` where they are known. */
export function createLog(service: string, level: string): Logger {
  return pino({
    level,
    base: { service, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  });
}

/** Swallows everything; for tests. */
export function silentLog(): Logger {
  return pino({ level: "silent" });
}

import { ConfigError, redacted } from "./config.ts";
import { createLog, type Logger } from "./log.ts";

/**
 * How every service begins: its settings from the environment, its log, a line with the settings (no secrets).
 * A wrong setting ends the process with exit code 1 and a line for each, which names it, its bounds and its value.
 */
export function begin<
  C extends Readonly<Record<string, number | string>> & { readonly ARRW_LOG_LEVEL: string },
>(service: string, load: (env: NodeJS.ProcessEnv) => C): { readonly config: C; readonly log: Logger } {
  try {
    const config = load(process.env);
    const log = createLog(service, config.ARRW_LOG_LEVEL);
    log.info({ settings: redacted(config) }, `${service} starts`);
    return { config, log };
  } catch (error) {
    return exit(error, createLog(service, "info"));
  }
}

/** What is found to be wrong with settings later, in the files that they name, ends the process likewise. */
export function orExit<T>(log: Logger, make: () => T): T {
  try {
    return make();
  } catch (error) {
    return exit(error, log);
  }
}

function exit(error: unknown, log: Logger): never {
  if (!(error instanceof ConfigError)) throw error;
  for (const problem of error.message.split("\n")) log.fatal(problem);
  process.exit(1);
}

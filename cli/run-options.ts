import type { Command } from "commander";
import type { SubmitOptions } from "../client/index.ts";
import { decimal, integer, label, moment, time } from "./arguments.ts";

type Time = ReturnType<typeof time>;

/** How the job that a command submits is run. */
export interface RunOptions {
  readonly runAt?: Date;
  readonly maxRetries?: number;
  readonly backoffInitial?: Time;
  readonly backoffMax?: Time;
  readonly backoffMultiplier?: number;
  readonly jitter?: number;
  readonly executionTimeout?: Time;
  readonly totalTimeout?: Time;
  readonly concurrencyKey?: string;
  readonly concurrencyLimit?: number;
  readonly requestId?: string;
  readonly label?: Record<string, string>;
}

/** Gives a command the options of retries, timeouts and concurrency, an idempotency key and labels. */
export function withRunOptions(command: Command): Command {
  return command
    .option(
      "--run-at <time>",
      "not before 2026-12-24T18:00:00Z, or not before so long from now: 5m",
      moment(1),
    )
    .option("--max-retries <n>", "retries at most; default 3", integer)
    .option("--backoff-initial <time>", "delay before the first retry at most; default 1s", time)
    .option("--backoff-max <time>", "delay before any retry at most; default 5m", time)
    .option("--backoff-multiplier <x>", "growth of the delay per retry; default 2", decimal)
    .option("--jitter <share>", "random share of the delay, 0..1; default 1", decimal)
    .option("--execution-timeout <time>", "for one attempt, as 90s, 5m, 2h; default none", time)
    .option("--total-timeout <time>", "for the job with all its attempts; default none", time)
    .option("--concurrency-key <key>", "runs beside others with the same key only within the limit")
    .option("--concurrency-limit <n>", "jobs with the key that may run at a time; default 1", integer)
    .option("--request-id <id>", "idempotency key: the same key and input again make no second job")
    .option("--label <key=value>", "label of the job; may be repeated", label);
}

export function runOptions(options: RunOptions): SubmitOptions {
  const { backoffInitial, backoffMax, backoffMultiplier, jitter } = options;
  const { requestId, label: labels, runAt } = options;
  const { maxRetries, executionTimeout, totalTimeout, concurrencyKey, concurrencyLimit } = options;
  const policy = given({ backoffInitial, backoffMax, backoffMultiplier, jitter });
  return {
    ...given({
      requestId,
      labels,
      runAt,
      maxRetries,
      executionTimeout,
      totalTimeout,
      concurrencyKey,
      concurrencyLimit,
    }),
    ...(Object.keys(policy).length > 0 ? { retryPolicy: policy } : {}),
  };
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without what is undefined. */
function given<T extends object>(values: T): Given<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Given<T>;
}

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CancelJobsRequest,
  type DeepPartial,
  type EchoSpec,
  type JobFilter,
  JobStatus,
  type RetryPolicy,
  SubmitJobRequest,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { changeLimitOf, checkJobsChange } from "../../../services/gateway/domain/validation/changes.ts";
import { checkQueue, checkQueueLimit } from "../../../services/gateway/domain/validation/queues.ts";
import { checkSubmit } from "../../../services/gateway/domain/validation/submit.ts";
import type { Violation } from "../../../services/gateway/domain/validation/violations.ts";

const ECHO = { spec: { $case: "echo" as const, value: { message: "hi" } } };

function submit(partial: DeepPartial<SubmitJobRequest>): readonly string[] {
  const request = SubmitJobRequest.fromPartial<DeepPartial<SubmitJobRequest>>(partial);
  return checkSubmit(request, { library: undefined, streamed: false }).map(({ field }) => field);
}

test("each bound of retries, timeouts and concurrency, at it and over it", () => {
  const seconds = (value: number) => ({ seconds: BigInt(value), nanos: 0 });
  const ms = (value: number) => ({ seconds: 0n, nanos: value * 1e6 });
  const DAY = 86_400;
  const policy = (retryPolicy: DeepPartial<RetryPolicy>) => ({ spec: ECHO, retryPolicy });
  const echo = (value: DeepPartial<EchoSpec>) => ({ spec: { spec: { $case: "echo" as const, value } } });
  const cases: [DeepPartial<SubmitJobRequest>, string[]][] = [
    [policy({}), []],
    [policy({ backoffInitial: ms(1) }), []],
    [policy({ backoffInitial: { seconds: 0n, nanos: 999_999 } }), ["retry_policy.backoff_initial"]],
    [policy({ backoffInitial: seconds(30 * DAY), backoffMax: seconds(30 * DAY) }), []],
    [policy({ backoffInitial: seconds(30 * DAY + 1) }), ["retry_policy.backoff_initial"]],
    [policy({ backoffInitial: seconds(2), backoffMax: seconds(2) }), []],
    [policy({ backoffInitial: seconds(2), backoffMax: seconds(1) }), ["retry_policy.backoff_max"]],
    [policy({ backoffMax: seconds(1) }), []],
    [policy({ backoffMax: ms(999) }), ["retry_policy.backoff_max"]],
    [policy({ backoffMax: seconds(30 * DAY + 1) }), ["retry_policy.backoff_max"]],
    [policy({ backoffInitial: seconds(-1), backoffMax: ms(5) }), ["retry_policy.backoff_initial"]],
    [policy({ backoffMultiplier: 1 }), []],
    [policy({ backoffMultiplier: 100 }), []],
    ...[0.5, 100.1, -1, Number.NaN, Number.POSITIVE_INFINITY].map(
      (value): [DeepPartial<SubmitJobRequest>, string[]] => [
        policy({ backoffMultiplier: value }),
        ["retry_policy.backoff_multiplier"],
      ],
    ),
    [policy({ jitter: 0 }), []],
    [policy({ jitter: 1 }), []],
    ...[-0.1, 1.1, Number.NaN].map((value): [DeepPartial<SubmitJobRequest>, string[]] => [
      policy({ jitter: value }),
      ["retry_policy.jitter"],
    ]),
    [{ spec: ECHO, totalTimeout: ms(1) }, []],
    [{ spec: ECHO, totalTimeout: seconds(365 * DAY) }, []],
    [{ spec: ECHO, totalTimeout: seconds(0) }, ["total_timeout"]],
    [{ spec: ECHO, totalTimeout: { seconds: BigInt(365 * DAY), nanos: 1e6 } }, ["total_timeout"]],
    [{ spec: ECHO, concurrencyKey: "k".repeat(128), concurrencyLimit: 10_000 }, []],
    [{ spec: ECHO, concurrencyKey: "k".repeat(129) }, ["concurrency_key"]],
    [{ spec: ECHO, concurrencyKey: "k", concurrencyLimit: -1 }, ["concurrency_limit"]],
    [{ spec: ECHO, concurrencyKey: "k", concurrencyLimit: 10_001 }, ["concurrency_limit"]],
    [{ spec: ECHO, concurrencyLimit: 1 }, ["concurrency_limit"]],
    [echo({ snoozeTimes: 1_000, snooze: seconds(DAY) }), []],
    [echo({ snoozeTimes: 1_001, snooze: seconds(DAY + 1) }), ["spec.echo.snooze_times", "spec.echo.snooze"]],
    [echo({ snoozeTimes: -1, snooze: seconds(-1) }), ["spec.echo.snooze_times", "spec.echo.snooze"]],
    [
      {
        ...policy({ backoffMultiplier: Number.NaN, jitter: 2 }),
        totalTimeout: seconds(0),
        concurrencyLimit: 2,
      },
      ["total_timeout", "retry_policy.backoff_multiplier", "retry_policy.jitter", "concurrency_limit"],
    ],
  ];
  for (const [partial, fields] of cases) assert.deepEqual(submit(partial), fields);
});

test("a bulk change needs a condition, or all; queues know their types", () => {
  const check = (partial: DeepPartial<CancelJobsRequest>): string[] =>
    checkJobsChange(CancelJobsRequest.fromPartial<DeepPartial<CancelJobsRequest>>(partial)).map(
      ({ field }) => field,
    );
  const conditions: DeepPartial<JobFilter>[] = [
    { statuses: [JobStatus.JOB_STATUS_FAILED] },
    { types: ["echo"] },
    { libraryId: "l" },
    { labels: { k: "" } },
    { createdAfter: new Date(0) },
    { createdBefore: new Date(0) },
  ];
  for (const filter of conditions) assert.deepEqual(check({ filter }), []);
  assert.deepEqual(check({}), ["filter"]);
  assert.deepEqual(check({ filter: {} }), ["filter"]);
  assert.deepEqual(check({ all: true }), []);
  assert.deepEqual(check({ all: true, filter: { types: ["ekko"] } }), ["filter.types[0]"]);
  assert.deepEqual(check({ all: true, limit: 10_000, reason: "x".repeat(1_000) }), []);
  assert.deepEqual(check({ limit: 10_001, reason: "x".repeat(1_001) }), ["filter", "limit", "reason"]);
  assert.deepEqual(check({ all: true, limit: -1 }), ["limit"]);
  assert.deepEqual([0, 1, 10_000].map(changeLimitOf), [1_000, 1, 10_000]);

  const fields = (violations: readonly Violation[]): string[] => violations.map(({ field }) => field);
  assert.deepEqual(
    ["", "echo", "ekko"].map((type) => fields(checkQueue({ type }))),
    [[], [], ["type"]],
  );
  assert.deepEqual(fields(checkQueueLimit({ type: "echo", maxRunning: 1_000_000 })), []);
  assert.deepEqual(fields(checkQueueLimit({ type: "", maxRunning: -1 })), ["type", "max_running"]);
  assert.deepEqual(fields(checkQueueLimit({ type: "echo", maxRunning: 1_000_001 })), ["max_running"]);
});

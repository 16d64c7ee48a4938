import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { RetryPolicy } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import {
  BACKOFF_INITIAL_MS,
  BACKOFF_MAX_MS,
  backoffMs,
  RETRY_AFTER_MAX_MS,
  retryDelayMs,
} from "../../../services/scheduler/domain/backoff.ts";
import type { Command } from "../../../services/scheduler/domain/commands.ts";
import { decide } from "../../../services/scheduler/domain/decide.ts";
import {
  isActive,
  isTerminal,
  type JobState,
  PENDING,
  RUNNING,
} from "../../../services/scheduler/domain/state.ts";
import { commands, NOW, submission } from "./states.ts";

const jitter = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe("backoff", () => {
  test("lies in [0, min(5 min, 1 s * 2^retries)), whole milliseconds", () => {
    fc.assert(
      fc.property(fc.nat(10_000), jitter, (retries, random) => {
        const ms = backoffMs(undefined, retries, random);
        assert.ok(Number.isSafeInteger(ms) && ms >= 0);
        assert.ok(ms < Math.min(BACKOFF_MAX_MS, BACKOFF_INITIAL_MS * 2 ** retries));
      }),
    );
  });

  test("does not shrink with more retries, nor with more jitter", () => {
    fc.assert(
      fc.property(fc.nat(40), jitter, jitter, (retries, a, b) => {
        assert.ok(backoffMs(undefined, retries + 1, a) >= backoffMs(undefined, retries, a));
        assert.ok(
          backoffMs(undefined, retries, Math.max(a, b)) >= backoffMs(undefined, retries, Math.min(a, b)),
        );
      }),
    );
  });

  test("doubles: 1 s, 2 s, 4 s, ... up to 5 min", () => {
    const ceilings = Array.from({ length: 11 }, (_, retries) => backoffMs(undefined, retries, 1));
    assert.deepEqual(ceilings.slice(0, 4), [1_000, 2_000, 4_000, 8_000]);
    assert.deepEqual(ceilings.slice(8), [256_000, 300_000, 300_000]);
  });

  test("a policy's own numbers: initial, multiplier, maximum, jitter", () => {
    const policy = RetryPolicy.fromPartial({
      backoffInitial: { seconds: 10n },
      backoffMax: { seconds: 60n },
      backoffMultiplier: 3,
      jitter: 0,
    });
    const delays = [0, 1, 2, 50].map((retries) => backoffMs(policy, retries, 0));
    assert.deepEqual(delays, [10_000, 30_000, 60_000, 60_000]);
    const half = { ...policy, jitter: 0.5 };
    assert.deepEqual([backoffMs(half, 0, 0), backoffMs(half, 0, 0.5)], [5_000, 7_500]);
  });

  test("an initial delay above 5 min is its own maximum", () => {
    const policy = RetryPolicy.fromPartial({ backoffInitial: { seconds: 3_600n }, jitter: 0 });
    assert.equal(backoffMs(policy, 3, 0), 3_600_000);
  });

  test("what a failure asks for is taken as it is, within its bounds", () => {
    fc.assert(
      fc.property(fc.nat(10), jitter, fc.integer(), (retries, random, asked) => {
        const ms = retryDelayMs(undefined, retries, random, asked);
        assert.equal(ms, Math.min(RETRY_AFTER_MAX_MS, Math.max(0, asked)));
        assert.equal(
          retryDelayMs(undefined, retries, random, undefined),
          backoffMs(undefined, retries, random),
        );
      }),
    );
  });
});

/** Any command, with leases that are right, old and new. */
const lease = fc.bigInt({ min: 0n, max: 4n });
const anyCommand: fc.Arbitrary<Command> = fc
  .record({
    command: fc.constantFrom<Command>(...Object.values(commands)),
    lease,
    number: fc.nat(4),
    libraryId: fc.constantFrom("", "library-1"),
  })
  .map(({ command, lease: number, number: checkpoint, libraryId }) => {
    if (command.kind === "submit") return { kind: "submit", submission: submission({ libraryId }) };
    if (command.kind === "checkpoint") return { ...command, lease: number, number: checkpoint };
    return "lease" in command ? ({ ...command, lease: number } as Command) : command;
  });
const anyHistory = fc.array(fc.tuple(anyCommand, fc.nat(2_000)), { minLength: 1, maxLength: 60 });

/** Runs a history and calls `check` for every accepted transition. */
function follow(
  history: readonly (readonly [Command, number])[],
  check: (before: JobState | undefined, after: JobState | undefined, event: string) => void,
): void {
  let state: JobState | undefined;
  let nowMs = NOW.getTime();
  for (const [command, passedMs] of history) {
    nowMs += passedMs;
    const decision = decide(state, command, new Date(nowMs));
    if (!decision.accepted) continue;
    check(state, decision.state, decision.event);
    state = decision.state;
  }
}

describe("whatever happens to a job", () => {
  test("its revision grows by exactly one with every event, and stays without one", () => {
    fc.assert(
      fc.property(anyHistory, (history) =>
        follow(history, (before, after, event) => {
          if (!after) return;
          const grown = after.job.revision - (before?.job.revision ?? 0n);
          assert.equal(grown, event === "" ? 0n : 1n);
        }),
      ),
    );
  });

  test("once it has ended only a retry by hand, its fence or its deletion changes it", () => {
    fc.assert(
      fc.property(anyHistory, (history) =>
        follow(history, (before, after) => {
          if (!before || !isTerminal(before.job.status) || !after) return;
          if (after.job.status === PENDING) {
            assert.deepEqual([after.job.retries, after.job.cancelRequested], [0, false]);
            return;
          }
          assert.deepEqual({ ...after, fencePending: 0n }, { ...before, fencePending: 0n });
          assert.equal(after.fencePending, 0n);
        }),
      ),
    );
  });

  test("it has a lease and a worker exactly while it runs, and an end exactly when it has ended", () => {
    fc.assert(
      fc.property(anyHistory, (history) =>
        follow(history, (_, after) => {
          if (!after) return;
          const { status, workerId, completedAt, retries, maxRetries } = after.job;
          if (status !== RUNNING) assert.equal(after.lease, 0n);
          else assert.notEqual(workerId, "");
          assert.equal(completedAt !== undefined, isTerminal(status));
          assert.ok(retries <= maxRetries);
          assert.ok(after.consecutiveLosses <= 3);
          if (!isActive(after)) assert.ok(isTerminal(status));
        }),
      ),
    );
  });

  test("states are replaced, never changed in place", () => {
    fc.assert(
      fc.property(anyHistory, (history) => {
        const kept: [JobState, string][] = [];
        const text = (state: JobState): string =>
          JSON.stringify(state, (_, value) => (typeof value === "bigint" ? String(value) : value));
        follow(history, (_, after) => {
          if (after) kept.push([after, text(after)]);
        });
        for (const [state, before] of kept) assert.equal(text(state), before);
      }),
    );
  });
});

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Command } from "../../../services/scheduler/domain/commands.ts";
import { decide, MAX_CONSECUTIVE_LOSSES } from "../../../services/scheduler/domain/decide.ts";
import { isTerminal, type JobState } from "../../../services/scheduler/domain/state.ts";
import {
  accepted,
  type CommandName,
  cancelling,
  cell,
  commands,
  final,
  LEASE,
  NOW,
  pending,
  rejection,
  retryable,
  running,
  type StateName,
  states,
  statusName,
  submission,
  WORKER,
} from "./states.ts";

const STATES = Object.keys(states) as StateName[];
const COMMANDS = Object.keys(commands) as CommandName[];
const ENDED: StateName[] = ["COMPLETED", "FAILED", "FAILED, fence open", "CANCELLED"];
const EXPIRED = "PENDING, total timeout up";
const UNLEASED: StateName[] = ["SCHEDULED", "BLOCKED", "PENDING", "PENDING, fence open", EXPIRED];
const LATE = "RUNNING, total timeout up";
const RUNNING: StateName[] = ["RUNNING", "RUNNING, 2 losses", LATE, "RUNNING, cancel requested"];

/** What is expected where the first matching line says so; every pair of state and command is met by one. */
const RULES: readonly [CommandName[], StateName[], string][] = [
  [["submit"], ["no job"], "PENDING"],
  [["submit"], STATES, "exists"],
  [COMMANDS, ["no job"], "not_found"],
  [["due"], ["SCHEDULED"], "PENDING"],
  [["due"], [EXPIRED], "FAILED"],
  [["grant"], [EXPIRED], "not_due"],
  [["grant"], ["PENDING", "PENDING, fence open"], "RUNNING"],
  [["due", "grant"], STATES, "wrong_state"],
  [["requestCancel"], UNLEASED, "CANCELLED"],
  [["requestCancel"], ["RUNNING", "RUNNING, 2 losses", LATE], "RUNNING"],
  [["retry"], ENDED, "PENDING"],
  [["retry, failed items"], ENDED, "no_failed_items"],
  [["retry", "retry, failed items"], STATES, "wrong_state"],
  [["requestCancel"], ["RUNNING, cancel requested", "CANCELLED"], "already"],
  [["requestCancel"], ["COMPLETED", "FAILED", "FAILED, fence open"], "terminal"],
  [["fenceClosed"], ["PENDING, fence open"], "PENDING"],
  [["fenceClosed"], ["FAILED, fence open"], "FAILED"],
  [["delete"], ["COMPLETED", "FAILED", "CANCELLED"], "no job"],
  [["delete"], STATES, "wrong_state"],
  [COMMANDS, [...UNLEASED, ...ENDED], "stale_lease"],
  [["fenceClosed"], RUNNING, "stale_lease"],
  [["checkpoint"], RUNNING, "RUNNING"],
  [["complete"], RUNNING, "COMPLETED"],
  [COMMANDS, ["RUNNING, cancel requested"], "CANCELLED"],
  [["fail, may be retried", "stopped", "release", "release, later", "lose"], [LATE], "FAILED"],
  [["fail, may be retried", "release, later"], RUNNING, "SCHEDULED"],
  [["fail, final"], RUNNING, "FAILED"],
  [["stopped", "release"], RUNNING, "PENDING"],
  [["lose"], ["RUNNING"], "PENDING"],
  [["lose"], ["RUNNING, 2 losses"], "FAILED"],
];

describe("every state with every command", () => {
  for (const state of STATES) {
    test(`${state}`, () => {
      for (const command of COMMANDS) {
        const rule = RULES.find(([names, from]) => names.includes(command) && from.includes(state));
        assert.ok(rule, `no rule for ${command} in ${state}`);
        assert.equal(cell(state, command), rule[2], `${command} in ${state}`);
      }
    });
  }

  test("a command with another lease than the current one is stale", () => {
    for (const name of RUNNING) {
      for (const command of Object.values(commands)) {
        if (!("lease" in command) || command.kind === "grant" || command.kind === "fenceClosed") continue;
        for (const lease of [LEASE - 1n, LEASE + 1n, 0n]) {
          assert.equal(rejection(states[name], { ...command, lease } as Command), "STALE_LEASE");
        }
      }
    }
  });

  test("a lease number of 0 speaks for no job", () => {
    for (const name of [...UNLEASED, ...ENDED]) {
      assert.equal(rejection(states[name], { ...commands.complete, lease: 0n }), "STALE_LEASE");
    }
  });
});

describe("submit", () => {
  test("a run_at in the future schedules, one that has passed does not", () => {
    const later = new Date(NOW.getTime() + 1);
    const scheduled = pending({ runAt: later });
    assert.equal(statusName(scheduled.job.status), "SCHEDULED");
    assert.equal(rejection(scheduled, commands.due), "NOT_DUE");
    assert.equal(statusName(accepted(scheduled, commands.due, later).state.job.status), "PENDING");
    assert.equal(statusName(pending({ runAt: NOW }).job.status), "PENDING");
  });

  test("carries the request's fields, 3 retries by default", () => {
    const { job } = pending({ libraryId: "l", requestId: "r", labels: { a: "b" } });
    assert.deepEqual([job.libraryId, job.requestId, job.labels, job.maxRetries], ["l", "r", { a: "b" }, 3]);
    assert.deepEqual([job.attempt, job.retries, job.losses, job.revision], [0, 0, 0, 1n]);
    assert.equal(pending({ maxRetries: 0 }).job.maxRetries, 0);
  });
});

describe("a lease", () => {
  test("is assigned to its worker, with the attempt's number", () => {
    const { state, effects, event } = accepted(pending(), commands.grant);
    assert.equal(event, "job.started");
    assert.deepEqual(effects, [{ kind: "assign", workerId: WORKER, state }]);
    assert.deepEqual([state.lease, state.job.attempt, state.leasesGranted], [LEASE + 1n, 1, 1]);
  });

  test("drain, snooze and loss repeat the attempt's number; a retry raises it", () => {
    const again = (from: JobState): number => {
      const due = isDue(from)
        ? from
        : accepted(from, commands.due, new Date(NOW.getTime() + 3_600_000)).state;
      return accepted(due, commands.grant).state.job.attempt;
    };
    for (const name of ["release", "release, later", "lose"] as const) {
      const { state } = accepted(running(), commands[name]);
      assert.equal(again(state), 1, name);
      assert.equal(state.job.retries, 0);
      assert.equal(state.job.losses, name === "lose" ? 1 : 0);
    }
    assert.equal(again(accepted(running(), commands["fail, may be retried"]).state), 2);
  });

  test("checkpoints count within the lease, only upwards", () => {
    const first = accepted(running(), commands.checkpoint).state;
    assert.deepEqual([first.checkpointNumber, first.checkpoint.toString()], [1, "here"]);
    assert.equal(rejection(first, commands.checkpoint), "STALE_LEASE");
    const third = accepted(first, { ...commands.checkpoint, number: 3, data: Buffer.from("there") }).state;
    assert.equal(rejection(third, { ...commands.checkpoint, number: 2 }), "STALE_LEASE");
    const granted = accepted(accepted(third, commands.lose).state, commands.grant).state;
    assert.deepEqual([granted.checkpointNumber, granted.checkpoint.toString()], [0, "there"]);
    const next = { ...commands.checkpoint, lease: granted.lease, data: Buffer.from("on") };
    assert.equal(accepted(granted, next).state.checkpoint.toString(), "on");
  });

  test("a completed job keeps no checkpoint, one that failed or was cancelled does", () => {
    const state = accepted(running(), commands.checkpoint).state;
    assert.equal(accepted(state, commands.complete).state.checkpoint.length, 0);
    assert.equal(accepted(state, commands["fail, final"]).state.checkpoint.toString(), "here");
    const asked = accepted(state, commands.requestCancel).state;
    assert.equal(accepted(asked, commands.stopped).state.checkpoint.toString(), "here");
  });
});

const isDue = (state: JobState): boolean => statusName(state.job.status) === "PENDING";

describe("failures", () => {
  test("max_retries retries, then FAILED with the error", () => {
    let state = pending({ maxRetries: 2 });
    const events: string[] = [];
    for (let attempt = 1; attempt <= 3; attempt++) {
      state = accepted(state, { kind: "grant", lease: BigInt(attempt), workerId: WORKER }).state;
      assert.equal(state.job.attempt, attempt);
      const failed = accepted(state, { ...commands["fail, may be retried"], lease: BigInt(attempt) });
      events.push(failed.event);
      state = failed.state;
      assert.deepEqual(state.job.error, retryable);
      if (isTerminal(state.job.status)) break;
      state = accepted(state, commands.due, state.job.runAt).state;
    }
    assert.deepEqual(events, ["job.retrying", "job.retrying", "job.failed"]);
    assert.equal(state.job.retries, 2);
  });

  test("the delay is the jittered backoff, or what the failure asks for", () => {
    const command = commands["fail, may be retried"];
    const runAt = (fields: Partial<typeof command> | { retryAfterMs: number }): number =>
      (accepted(running(), { ...command, ...fields }).state.job.runAt?.getTime() ?? 0) - NOW.getTime();
    assert.equal(runAt({}), 500);
    assert.equal(runAt({ retryAfterMs: 12_345 }), 12_345);
  });

  test("a final error is not retried", () => {
    const { state, event } = accepted(running(), commands["fail, final"]);
    assert.deepEqual([event, state.job.retries, state.job.error], ["job.failed", 0, final]);
  });
});

describe("who wins when a cancel was requested", () => {
  test("only a completed outcome is not CANCELLED, and its result stays", () => {
    const result = { result: { $case: "echo" as const, value: { message: "hi" } } } as never;
    const done = accepted(cancelling(), { ...commands.complete, result }).state;
    assert.equal(statusName(done.job.status), "COMPLETED");
    assert.equal(done.job.result, result);
    assert.equal(done.job.cancelRequested, true);
  });

  test("never a retry, also when retries are left; the error is kept", () => {
    const { state, event } = accepted(cancelling(), commands["fail, may be retried"]);
    assert.equal(event, "job.cancelled");
    assert.deepEqual([state.job.error, state.job.retries], [retryable, 0]);
  });

  test("the partial result of a stopped handler is kept", () => {
    const partialResult = { result: undefined };
    const { state } = accepted(cancelling(), { ...commands.stopped, partialResult });
    assert.equal(state.job.result, partialResult);
  });

  test("a request is sent to the worker once, and its reason is kept", () => {
    const { state, effects } = accepted(running(), commands.requestCancel);
    assert.deepEqual(effects, [{ kind: "cancelLease", workerId: WORKER, lease: LEASE }]);
    assert.deepEqual([state.job.cancelRequested, state.cancelReason], [true, "enough"]);
    assert.equal(rejection(state, commands.requestCancel), "ALREADY");
  });

  test("a lost worker's fence is closed all the same", () => {
    const { state, effects } = accepted(cancelling({ libraryId: "l" }), commands.lose);
    assert.equal(statusName(state.job.status), "CANCELLED");
    assert.deepEqual(effects, [
      { kind: "closeFence", libraryIds: ["l"], jobId: state.job.jobId, lease: LEASE },
    ]);
  });
});

describe("losses", () => {
  const loseTimes = (times: number, between?: (state: JobState) => JobState): JobState => {
    let state = pending({ libraryId: "l" });
    for (let n = 1; n <= times && !isTerminal(state.job.status); n++) {
      state = accepted(state, { kind: "grant", lease: BigInt(n), workerId: WORKER }).state;
      if (between) state = between(state);
      state = accepted(state, { kind: "lose", lease: BigInt(n) }).state;
    }
    return state;
  };

  test(`${MAX_CONSECUTIVE_LOSSES} in a row are poison`, () => {
    const state = loseTimes(10);
    assert.deepEqual([statusName(state.job.status), state.job.losses], ["FAILED", MAX_CONSECUTIVE_LOSSES]);
    assert.equal(state.job.error?.code, "WORKER_LOST");
    assert.equal(state.job.retries, 0);
  });

  test("a checkpoint in between starts the count again", () => {
    const state = loseTimes(
      10,
      (each) => accepted(each, { ...commands.checkpoint, lease: each.lease }).state,
    );
    assert.deepEqual([statusName(state.job.status), state.job.losses], ["PENDING", 10]);
  });

  test("the fence stays open until the index has closed that lease's", () => {
    const state = loseTimes(2);
    assert.equal(state.fencePending, 2n);
    assert.equal(rejection(state, { kind: "fenceClosed", lease: 1n }), "STALE_LEASE");
    assert.equal(accepted(state, { kind: "fenceClosed", lease: 2n }).state.fencePending, 0n);
  });

  test("a worker that could not close its fence leaves that to the scheduler, however the lease ended", () => {
    const endings = ["complete", "fail, may be retried", "fail, final", "stopped", "release"] as const;
    for (const name of endings) {
      const command = { ...commands[name], fenceOpen: true } as Command;
      const { state, effects } = accepted(running({ libraryId: "l" }), command);
      assert.equal(state.fencePending, LEASE, name);
      assert.deepEqual(effects, [
        { kind: "closeFence", libraryIds: ["l"], jobId: state.job.jobId, lease: LEASE },
      ]);
      assert.equal(accepted(state, commands.fenceClosed).state.fencePending, 0n);
      const without = accepted(running(), command);
      assert.deepEqual([without.state.fencePending, without.effects], [0n, []]);
    }
    const late = { ...commands.complete, lease: LEASE - 1n, fenceOpen: true };
    assert.equal(rejection(running({ libraryId: "l" }), late), "STALE_LEASE");
  });

  test("a job without a library has no fence", () => {
    const { state, effects } = accepted(running(), commands.lose);
    assert.deepEqual([state.fencePending, effects], [0n, []]);
  });
});

describe("delete", () => {
  test("takes the payload along", () => {
    const state = accepted(running({ payloadObject: "object-1" }), commands.complete).state;
    const decision = decide(state, commands.delete, NOW);
    assert.deepEqual(decision, {
      accepted: true,
      state: undefined,
      event: "job.deleted",
      effects: [{ kind: "removePayload", objectId: "object-1" }],
    });
  });

  test("the same id may be submitted again after it", () => {
    assert.equal(decide(undefined, { kind: "submit", submission: submission() }, NOW).accepted, true);
  });
});

describe("attempts", () => {
  test("tell of each lease: number, worker, outcome, error", () => {
    let state = pending({ maxRetries: 5 });
    const endings = ["lose", "release", "fail, may be retried", "release, later", "complete"] as const;
    for (const [n, name] of endings.entries()) {
      const lease = BigInt(n + 1);
      if (!isDue(state)) state = accepted(state, commands.due, state.job.runAt).state;
      state = accepted(state, { kind: "grant", lease, workerId: `w${lease}` }).state;
      assert.equal(state.job.attempts.at(-1)?.outcome, "");
      state = accepted(state, { ...commands[name], lease }).state;
    }
    const told = state.job.attempts.map(({ attempt, lease, workerId, outcome, error }) =>
      [attempt, lease, workerId, outcome, error?.code].join(" "),
    );
    assert.deepEqual(told, [
      "1 1 w1 lost ",
      "1 2 w2 released ",
      "1 3 w3 failed BUSY",
      "2 4 w4 released ",
      "2 5 w5 completed ",
    ]);
    assert.ok(state.job.attempts.every(({ endedAt }) => endedAt));
  });

  test("the last 20 are kept, and their errors are cut", () => {
    let state = pending({ maxRetries: 100 });
    const error = { ...retryable, message: "x".repeat(4_000) };
    for (let lease = 1n; lease <= 30n; lease++) {
      state = accepted(state, { kind: "grant", lease, workerId: WORKER }).state;
      state = accepted(state, { ...commands["fail, may be retried"], lease, error, retryAfterMs: 0 }).state;
    }
    assert.deepEqual([state.job.attempts.length, state.job.attempts[0]?.lease], [20, 11n]);
    assert.equal(state.job.attempts[0]?.error?.message.length, 500);
    assert.equal(state.job.error?.message.length, 4_000);
  });

  test("an attempt that ran out of time says so", () => {
    const { state } = accepted(running(), { ...commands["fail, may be retried"], timedOut: true });
    assert.equal(state.job.attempts[0]?.outcome, "timed_out");
  });
});

describe("retry by hand", () => {
  test("all retries and the total timeout anew; attempts are counted on", () => {
    const minute = { seconds: 60n, nanos: 0 };
    let state = pending({ maxRetries: 0, totalTimeout: minute });
    state = accepted(state, { kind: "grant", lease: 1n, workerId: WORKER }).state;
    state = accepted(state, { ...commands["fail, may be retried"], lease: 1n }).state;
    assert.equal(statusName(state.job.status), "FAILED");
    const later = new Date(NOW.getTime() + 3_600_000);
    const { state: again, event } = accepted(state, commands.retry, later);
    assert.equal(event, "job.retried");
    assert.deepEqual(again.deadline, new Date(later.getTime() + 60_000));
    assert.deepEqual([again.job.completedAt, again.job.result, again.job.retries], [undefined, undefined, 0]);
    assert.equal(again.job.revision, state.job.revision + 1n);
    const granted = accepted(again, { kind: "grant", lease: 2n, workerId: WORKER }, later).state;
    assert.equal(granted.job.attempt, 2);
  });

  test("from the checkpoint, if asked for", () => {
    const failed = accepted(accepted(running(), commands.checkpoint).state, commands["fail, final"]).state;
    assert.equal(accepted(failed, commands.retry).state.checkpoint.length, 0);
    const kept = accepted(failed, { kind: "retry", fromCheckpoint: true }).state;
    assert.equal(kept.checkpoint.toString(), "here");
  });

  test("a cancel of the run before is forgotten", () => {
    const cancelled = accepted(accepted(running(), commands.requestCancel).state, commands.stopped).state;
    const { state } = accepted(cancelled, commands.retry);
    assert.deepEqual([state.job.cancelRequested, state.cancelReason], [false, ""]);
  });
});

describe("total timeout", () => {
  const second = { seconds: 1n, nanos: 0 };

  test("counts from run_at", () => {
    const runAt = new Date(NOW.getTime() + 5_000);
    assert.deepEqual(pending({ totalTimeout: second }).deadline, new Date(NOW.getTime() + 1_000));
    assert.deepEqual(pending({ totalTimeout: second, runAt }).deadline, new Date(NOW.getTime() + 6_000));
    assert.equal(pending().deadline, undefined);
  });

  test("beats a retry that would come too late, and names the last failure", () => {
    const state = running({ totalTimeout: second });
    const { state: failed } = accepted(state, { ...commands["fail, may be retried"], retryAfterMs: 1_000 });
    assert.deepEqual(
      [statusName(failed.job.status), failed.job.error?.code],
      ["FAILED", "DEADLINE_EXCEEDED"],
    );
    assert.match(failed.job.error?.message ?? "", /BUSY: try again/);
    const inTime = accepted(state, { ...commands["fail, may be retried"], retryAfterMs: 999 }).state;
    assert.equal(statusName(inTime.job.status), "SCHEDULED");
  });

  test("an attempt that it stopped is not named as a failure before it", () => {
    const late = new Date(NOW.getTime() + 1_000);
    const command = { ...commands["fail, may be retried"], timedOut: true };
    const { state } = accepted(running({ totalTimeout: second }), command, late);
    assert.deepEqual(
      [state.job.error?.message, state.job.attempts[0]?.outcome],
      ["the total timeout is up", "timed_out"],
    );
  });

  test("does not beat a completed outcome, nor a final error", () => {
    const late = new Date(NOW.getTime() + 60_000);
    const state = running({ totalTimeout: second });
    assert.equal(statusName(accepted(state, commands.complete, late).state.job.status), "COMPLETED");
    assert.equal(accepted(state, commands["fail, final"], late).state.job.error?.code, "BROKEN");
  });

  test("a loss after it ends the job and still closes the fence", () => {
    const late = new Date(NOW.getTime() + 60_000);
    const { state, effects } = accepted(
      running({ totalTimeout: second, libraryId: "l" }),
      commands.lose,
      late,
    );
    assert.equal(state.job.error?.code, "DEADLINE_EXCEEDED");
    assert.deepEqual(
      effects.map(({ kind }) => kind),
      ["closeFence"],
    );
  });
});

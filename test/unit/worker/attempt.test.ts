import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ArrwError } from "../../../platform/errors.ts";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";
import { EchoResult, EchoSpec, type JobProgress } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { Library } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { LeaseGrant, Outcome } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { Attempt, type AttemptServices } from "../../../services/worker/attempt.ts";
import { AttemptMetrics } from "../../../services/worker/attempt-metrics.ts";
import { MAX_OUTCOME_BYTES } from "../../../services/worker/endings.ts";
import { Cancelled, type Handler, type LeasedLibrary, Snooze } from "../../../services/worker/handler.ts";
import { echo } from "../../../services/worker/handlers/echo.ts";
import { LeaseLog } from "../../../services/worker/lease-log.ts";
import { RecordedLines } from "./recorded-lines.ts";

/** What surrounds an attempt, recorded. */
class Surroundings {
  readonly published: { readonly outcome: Outcome; readonly onStored: () => void }[] = [];
  readonly calls: string[] = [];
  /** The index answers when a fence is to be closed. */
  endCloses = true;
  readonly reports: JobProgress[] = [];
  readonly deadlines = new Map<() => void, number>();
  readonly lines = new RecordedLines(this.calls);
  begin: () => Promise<LeasedLibrary> = async () => ({ library: Library.fromPartial({}), embeddingId: "e" });

  readonly services: AttemptServices = {
    outcomes: {
      add: (bytes, onStored) => {
        const outcome = Outcome.decode(bytes);
        this.calls.push(`publish ${outcome.outcome?.$case}`);
        this.published.push({ outcome, onStored });
      },
    },
    progress: { report: (_job, _lease, progress) => this.reports.push(progress), forget: () => undefined },
    fences: {
      begin: async () => {
        this.calls.push("begin");
        return [await this.begin()];
      },
      end: async () => {
        this.calls.push("end");
        return this.endCloses;
      },
    },
    deadlines: {
      set: (run, atMs) => this.deadlines.set(run, atMs),
      delete: (run) => this.deadlines.delete(run),
    },
    metrics: new AttemptMetrics(createRegistry("test")),
    log: silentLog(),
    logs: { open: (lease) => new LeaseLog(lease, this.lines) },
    logLevel: "info",
    graceMs: { cancel: 30_000, timeout: 30_000, drain: 1_000, "cut off": 30_000 },
    onEnded: () => this.calls.push("ended"),
    onStored: () => this.calls.push("stored"),
  };

  /** Everything that is due now or later comes. */
  meetDeadlines(): void {
    for (const run of [...this.deadlines.keys()]) {
      this.deadlines.delete(run);
      run();
    }
  }

  get ending(): NonNullable<Outcome["outcome"]> {
    const last = this.published.at(-1)?.outcome.outcome;
    return last ?? assert.fail("nothing was published");
  }

  get failure() {
    const { ending } = this;
    assert.ok(ending.$case === "failed");
    return ending.value;
  }
}

type Run = Handler<"echo">["run"];

function attemptOf(around: Surroundings, run: Run, fields: Partial<LeaseGrant> = {}): Attempt {
  const grant: LeaseGrant = {
    ...LeaseGrant.fromPartial({ lease: 5n, jobId: "job", type: "echo", attempt: 1 }),
    spec: { spec: { $case: "echo", value: EchoSpec.fromPartial({ message: "hi" }) } },
    ...fields,
  };
  const handler: Handler<"echo"> = { type: "echo", kind: "echo", run };
  return new Attempt(grant, handler as unknown as Handler, around.services);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** Runs until it is aborted, then throws what `thrown` makes. */
const untilAborted =
  (thrown: (reason: unknown) => unknown = (reason) => reason): Run =>
  (_job, { signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(thrown(signal.reason))));

describe("attempt", () => {
  test("a handler that returns at once is completed at once, without timers or signal", () => {
    const around = new Surroundings();
    attemptOf(around, ({ spec }) => EchoResult.fromPartial({ message: spec.message })).start();
    assert.deepEqual(around.calls, ["publish completed", "ended"]);
    assert.ok(around.ending.$case === "completed");
    assert.equal(around.ending.value.result?.result?.$case, "echo");
    around.published[0]?.onStored();
    assert.deepEqual(around.calls, ["publish completed", "ended", "stored"]);
  });

  test("with a library: fence, handler, fence, outcome", async () => {
    const around = new Surroundings();
    const run: Run = async ({ library }) => {
      around.calls.push(`run ${library?.embeddingId}`);
      return EchoResult.fromPartial({});
    };
    attemptOf(around, run, { libraryId: "books" }).start();
    await turn();
    assert.deepEqual(around.calls, ["begin", "run e", "end", "publish completed", "ended"]);
    assert.equal(around.published[0]?.outcome.fenceOpen, false);
  });

  test("a fence that the index did not close is told with the outcome", async () => {
    const around = new Surroundings();
    around.endCloses = false;
    attemptOf(around, () => EchoResult.fromPartial({}), { libraryId: "books" }).start();
    await turn();
    assert.equal(around.published[0]?.outcome.fenceOpen, true);
  });

  test("a failure says whether another attempt may help", async () => {
    const cases: [unknown, string, boolean][] = [
      [new ArrwError("NOT_FOUND", "x", { reason: "LIBRARY_NOT_FOUND" }), "LIBRARY_NOT_FOUND", false],
      [new ArrwError("INVALID_ARGUMENT", "x"), "INVALID_ARGUMENT", false],
      [new ArrwError("FAILED_PRECONDITION", "x"), "FAILED_PRECONDITION", false],
      [new ArrwError("DATA_LOSS", "x"), "DATA_LOSS", false],
      [new ArrwError("UNAVAILABLE", "x"), "UNAVAILABLE", true],
      [new ArrwError("RESOURCE_EXHAUSTED", "x"), "RESOURCE_EXHAUSTED", true],
      [new ArrwError("ABORTED", "x", { reason: "ECHO_FAILED" }), "ECHO_FAILED", true],
      [new Error("a bug"), "INTERNAL", true],
      ["text", "INTERNAL", true],
    ];
    for (const [thrown, code, retryable] of cases) {
      const around = new Surroundings();
      attemptOf(around, () => {
        throw thrown;
      }).start();
      const { error, retryAfter, timedOut } = around.failure;
      assert.deepEqual(
        [error?.code, error?.retryable, retryAfter, timedOut],
        [code, retryable, undefined, false],
      );
    }
  });

  test("the delay that an error asks for is passed on", () => {
    const around = new Surroundings();
    attemptOf(around, () => {
      throw new ArrwError("RESOURCE_EXHAUSTED", "slow down", { retryAfterMs: 1_500 });
    }).start();
    assert.equal(around.failure.retryAfter?.seconds, 1n);
    assert.equal(around.failure.retryAfter?.nanos, 500_000_000);
  });

  test("cancel: what the handler had done by then is the partial result", async () => {
    for (const how of ["throws", "returns"] as const) {
      const around = new Surroundings();
      const partial = new Cancelled<"echo">(EchoResult.fromPartial({ message: "half" }));
      const run: Run = (_job, { signal }) =>
        new Promise((resolve, reject) => {
          signal.addEventListener("abort", () => (how === "throws" ? reject(partial) : resolve(partial)));
        });
      const attempt = attemptOf(around, run);
      attempt.start();
      attempt.progress({ current: 1, total: 4 });
      attempt.stop("cancel");
      await turn();
      assert.ok(around.ending.$case === "cancelled");
      const { partialResult, progress } = around.ending.value;
      assert.ok(partialResult?.result?.$case === "echo");
      assert.equal(partialResult.result.value.message, "half");
      assert.equal(progress?.percentage, 25);
    }
  });

  test("the reason of the stop decides the outcome", async () => {
    for (const [reason, ending] of [
      ["cancel", "cancelled"],
      ["timeout", "failed"],
      ["drain", "released"],
      ["cut off", "released"],
    ] as const) {
      for (const thrown of [(why: unknown) => why, () => new Error("torn down")]) {
        const around = new Surroundings();
        const attempt = attemptOf(around, untilAborted(thrown));
        attempt.start();
        attempt.stop(reason);
        await turn();
        assert.equal(around.ending.$case, ending);
        assert.equal(around.published.length, 1);
        assert.equal(around.deadlines.size, 0);
      }
    }
  });

  test("work that is complete in spite of the cancel is completed", async () => {
    const around = new Surroundings();
    const attempt = attemptOf(around, async () => EchoResult.fromPartial({ message: "done" }));
    attempt.start();
    attempt.stop("cancel");
    await turn();
    assert.equal(around.ending.$case, "completed");
  });

  test("a handler that ignores the cancel is given up after the grace time; its result is ignored", async () => {
    const around = new Surroundings();
    let finish: (result: EchoResult) => void = () => undefined;
    const attempt = attemptOf(around, () => new Promise((resolve) => (finish = resolve)));
    attempt.start();
    attempt.stop("cancel");
    assert.equal(around.deadlines.size, 1);
    around.meetDeadlines();
    assert.equal(around.ending.$case, "cancelled");
    finish(EchoResult.fromPartial({}));
    await turn();
    assert.equal(around.published.length, 1);
    await assert.rejects(attempt.checkpoint(Buffer.from("late")), { name: "Stopped" });
    assert.equal(around.published.length, 1);
  });

  test("the execution timeout counts from the grant", async () => {
    const around = new Surroundings();
    const grantedAt = new Date(Date.now() - 4_000);
    const timeout = { seconds: 10n, nanos: 0 };
    attemptOf(around, untilAborted(), { executionTimeout: timeout, grantedAt }).start();
    const [at] = around.deadlines.values();
    assert.ok(Math.abs((at ?? 0) - performance.now() - 6_000) < 500);
    around.meetDeadlines();
    await turn();
    const { error, timedOut } = around.failure;
    assert.deepEqual([timedOut, error?.code, error?.retryable], [true, "DEADLINE_EXCEEDED", true]);
  });

  test("the earlier of execution timeout and total timeout counts, and is named", async () => {
    const ms = (value: number) => ({ seconds: 0n, nanos: value * 1e6 });
    for (const [executionTimeout, totalTimeout, expectedMs, text] of [
      [undefined, ms(300), 300, "the job ran into its total timeout"],
      [ms(200), ms(300), 200, "the attempt ran into its execution timeout"],
      [ms(400), ms(300), 300, "the job ran into its total timeout"],
    ] as const) {
      const around = new Surroundings();
      attemptOf(around, untilAborted(), { executionTimeout, totalTimeout, grantedAt: new Date() }).start();
      const [at] = around.deadlines.values();
      assert.ok(Math.abs((at ?? 0) - performance.now() - expectedMs) < 100);
      around.meetDeadlines();
      await turn();
      const { error, timedOut } = around.failure;
      assert.deepEqual([timedOut, error?.code, error?.message], [true, "DEADLINE_EXCEEDED", text]);
      assert.equal(around.deadlines.size, 0);
    }
    const quick = new Surroundings();
    attemptOf(quick, () => EchoResult.fromPartial({}), { totalTimeout: ms(300) }).start();
    assert.equal(quick.deadlines.size, 0);
  });

  test("a snooze gives the lease back with its delay, behind the fence; a stop goes before it", async () => {
    const around = new Surroundings();
    const snooze: Run = async () => Promise.reject(new Snooze(90_500));
    attemptOf(around, snooze, { libraryId: "books" }).start();
    await turn();
    assert.deepEqual(around.calls.slice(0, 2), ["begin", "end"]);
    assert.ok(around.ending.$case === "released");
    const { delay } = around.ending.value;
    assert.deepEqual([delay?.seconds, delay?.nanos], [90n, 500_000_000]);
    assert.deepEqual(around.lines.lines, ["info attempt given back: it goes on in 90.5 s"]);
    for (const [reason, ending, delayed] of [
      ["cancel", "cancelled", false],
      ["drain", "released", true],
    ] as const) {
      const stopped = new Surroundings();
      const attempt = attemptOf(
        stopped,
        untilAborted(() => new Snooze(1_000)),
      );
      attempt.start();
      attempt.stop(reason);
      await turn();
      const { $case, value } = stopped.ending;
      assert.deepEqual([$case, "delay" in value && value.delay !== undefined], [ending, delayed]);
    }
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY, 31 * 86_400_000]) {
      assert.throws(() => new Snooze(bad), RangeError);
    }
  });

  test("an echo snoozes its first leases, whatever the attempt", () => {
    const fields = { message: "hi", snoozeTimes: 2, snooze: { seconds: 3n, nanos: 0 } };
    const spec = { spec: { $case: "echo" as const, value: EchoSpec.fromPartial(fields) } };
    const endings = [0, 1, 2].map((leasesBefore) => {
      const around = new Surroundings();
      attemptOf(around, echo.run, { spec, leasesBefore }).start();
      return around.ending.$case;
    });
    assert.deepEqual(endings, ["released", "released", "completed"]);
  });

  test("a fenced attempt says nothing, at its begin and later", async () => {
    const fenced = new ArrwError("FAILED_PRECONDITION", "another lease", { reason: "LEASE_FENCED" });
    const early = new Surroundings();
    early.begin = async () => {
      throw fenced;
    };
    attemptOf(early, () => assert.fail("the handler must not run"), { libraryId: "books" }).start();
    await turn();
    assert.deepEqual(early.calls, ["begin", "ended"]);

    const late = new Surroundings();
    attemptOf(late, async () => Promise.reject(fenced), { libraryId: "books" }).start();
    await turn();
    assert.deepEqual(late.calls, ["begin", "ended"]);
  });

  test("a disowned attempt is aborted and says nothing", async () => {
    const around = new Surroundings();
    const attempt = attemptOf(around, untilAborted());
    attempt.start();
    const { signal } = attempt;
    attempt.stop("disowned");
    await turn();
    assert.equal(signal.aborted, true);
    assert.deepEqual(around.calls, ["ended"]);
  });

  test("checkpoints are numbered, wait until stored, and carry the last progress", async () => {
    const around = new Surroundings();
    const run: Run = async (_job, context) => {
      for (const step of [1, 2]) {
        context.progress({ current: step, total: 2 });
        await context.checkpoint(Buffer.from(`at ${step}`));
      }
      return EchoResult.fromPartial({});
    };
    attemptOf(around, run).start();
    for (const number of [1, 2]) {
      await turn();
      assert.ok(around.ending.$case === "checkpoint");
      const { value } = around.ending;
      assert.deepEqual(
        [value.number, value.data.toString(), value.progress?.current],
        [number, `at ${number}`, BigInt(number)],
      );
      assert.equal(around.published.length, number);
      around.published.at(-1)?.onStored();
    }
    await turn();
    assert.equal(around.ending.$case, "completed");
  });

  test("what a handler logs is on its way before the checkpoint or the outcome is", async () => {
    const around = new Surroundings();
    const run: Run = async (_job, context) => {
      context.log.info({ batch: 1 }, "embedded");
      context.log.debug("below the level");
      const stored = context.checkpoint(Buffer.from("1"));
      around.published.at(-1)?.onStored();
      await stored;
      context.log.warn("nearly done");
      context.log.error(new Error("no spoon") as never, "odd");
      return EchoResult.fromPartial({});
    };
    attemptOf(around, run).start();
    await turn();
    const calls = ["log 1", "publish checkpoint", "log 2", "publish completed", "ended"];
    assert.deepEqual(around.calls, calls);
    assert.deepEqual(around.lines.lines, [
      "info embedded batch=1",
      "warn nearly done",
      'error odd err="no spoon"',
    ]);
    assert.deepEqual(
      around.lines.batches.map(({ jobId, lease, attempt, firstLine }) => [jobId, lease, attempt, firstLine]),
      [
        ["job", 5n, 1, 1],
        ["job", 5n, 1, 2],
      ],
    );
  });

  test("a failure is the log's last line; what an abandoned handler says after is not in it", async () => {
    const around = new Surroundings();
    const failing = new ArrwError("ABORTED", "no luck", { reason: "UNLUCKY" });
    attemptOf(around, async () => Promise.reject(failing)).start();
    await turn();
    assert.deepEqual(around.lines.lines, ["error attempt failed: UNLUCKY: no luck"]);

    const late = new Surroundings();
    const attempt = attemptOf(late, () => new Promise(() => undefined));
    attempt.start();
    attempt.stop("timeout");
    late.meetDeadlines();
    attempt.log.error("too late");
    assert.deepEqual(late.lines.lines, [
      "warn the handler does not stop; its attempt is given up",
      "error attempt failed: DEADLINE_EXCEEDED: the attempt ran into its execution timeout",
    ]);
  });

  test("values that can't be shown don't fail the job", async () => {
    const around = new Surroundings();
    const circular: Record<string, unknown> = { n: 1n };
    const run: Run = ({ spec }, { log }) => {
      log.info({ circular }, "before");
      circular.self = circular;
      log.info({ circular }, "circular");
      const hostile = {
        get value() {
          throw new Error("no");
        },
      };
      log.info(hostile, "hostile");
      log.info("after");
      return EchoResult.fromPartial({ message: spec.message });
    };
    attemptOf(around, run).start();
    assert.equal(around.ending.$case, "completed");
    assert.deepEqual(around.lines.lines, ['info before circular={"n":"1"}', "info after"]);
  });

  test("a checkpoint above 16 KiB is refused", async () => {
    const around = new Surroundings();
    const attempt = attemptOf(around, untilAborted());
    await assert.rejects(attempt.checkpoint(Buffer.alloc(16_385)), { code: "INVALID_ARGUMENT" });
  });

  test("a stopping handler saves how far it came, without waiting", async () => {
    const around = new Surroundings();
    const attempt = attemptOf(around, async (_job, context) => {
      await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      await context.checkpoint(Buffer.from("so far"));
      return assert.fail("a stopped handler does not go on");
    });
    attempt.start();
    attempt.stop("drain");
    await turn();
    assert.deepEqual(around.calls, ["publish checkpoint", "log 1", "publish released", "ended"]);
  });

  test("a result too large for a message is a failure, not a message repeated for ever", () => {
    const around = new Surroundings();
    const message = "x".repeat(MAX_OUTCOME_BYTES);
    attemptOf(around, () => EchoResult.fromPartial({ message })).start();
    assert.equal(around.failure.error?.code, "RESULT_TOO_LARGE");
    assert.equal(around.failure.error?.retryable, false);
  });

  test("a job nobody can run fails, not retryably", () => {
    const around = new Surroundings();
    const grant = LeaseGrant.fromPartial({ lease: 1n, type: "knit" });
    new Attempt(grant, undefined, around.services).start();
    assert.match(around.failure.error?.message ?? "", /knit/);
    assert.equal(around.failure.error?.retryable, false);

    attemptOf(around, () => assert.fail("no spec"), { spec: { spec: undefined } }).start();
    assert.equal(around.failure.error?.code, "INVALID_ARGUMENT");
  });

  test("stopped before it starts, the handler does not run", () => {
    const around = new Surroundings();
    const attempt = attemptOf(around, () => assert.fail("it must not run"));
    attempt.stop("drain");
    attempt.start();
    assert.equal(around.ending.$case, "released");
  });
});

describe("echo", () => {
  const outcomeOf = (fields: Partial<EchoSpec>, attempt: number) => {
    const around = new Surroundings();
    const value = { ...EchoSpec.fromPartial({}), ...fields };
    attemptOf(around, echo.run, { attempt, spec: { spec: { $case: "echo", value } } }).start();
    return around;
  };

  test("the first fail_times attempts fail, retryably", () => {
    for (const attempt of [1, 2]) {
      const { error } = outcomeOf({ failTimes: 2 }, attempt).failure;
      assert.deepEqual([error?.code, error?.retryable], ["ECHO_FAILED", true]);
    }
    assert.equal(outcomeOf({ failTimes: 2 }, 3).ending.$case, "completed");
  });

  test("fail_permanently fails every attempt, not retryably", () => {
    const { error } = outcomeOf({ failPermanently: true }, 9).failure;
    assert.deepEqual([error?.code, error?.retryable], ["ECHO_FAILED", false]);
  });

  test("steps are reported", async () => {
    const around = outcomeOf({ steps: 3, message: "m" }, 1);
    await turn();
    assert.deepEqual(
      around.reports.map(({ current, total }) => [current, total]),
      [
        [1n, 3n],
        [2n, 3n],
        [3n, 3n],
      ],
    );
    assert.ok(around.ending.$case === "completed");
    assert.equal(around.ending.value.progress?.percentage, 100);
  });
});

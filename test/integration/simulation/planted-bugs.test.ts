import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Stream } from "../../../platform/nats/names.ts";
import type { AppendOptions } from "../../../platform/nats/publisher.ts";
import { Concurrency } from "../../../services/scheduler/concurrency.ts";
import type { Command } from "../../../services/scheduler/domain/commands.ts";
import { RUNNING } from "../../../services/scheduler/domain/state.ts";
import { Fences } from "../../../services/scheduler/fences.ts";
import { JobTable } from "../../../services/scheduler/jobs.ts";
import { Journal } from "../../../services/scheduler/journal.ts";
import { Term } from "../../../services/scheduler/term.ts";
import { Timers } from "../../../services/scheduler/timers.ts";
import { Workers } from "../../../services/scheduler/workers.ts";
import { type CheckOptions, search } from "../../simulation/check.ts";
import { Link } from "../../simulation/link.ts";

/** The simulation is worth what it finds: each of these bugs must be found, for what it is, and made simple. */

interface Planted {
  readonly bug: string;
  /** What is said of it. */
  readonly message: RegExp;
  readonly plant?: (t: TestContext) => void;
  readonly options?: Partial<CheckOptions>;
}

/** Replaces a command before it is decided. */
function replaceCommand(
  t: TestContext,
  change: (table: JobTable, jobId: string, command: Command) => Command,
) {
  const { transition } = JobTable.prototype;
  t.mock.method(JobTable.prototype, "transition", function (this: JobTable, jobId: string, command: Command) {
    return transition.call(this, jobId, change(this, jobId, command));
  });
}

const PLANTED: readonly Planted[] = [
  {
    bug: "what an old lease says counts",
    message: /has not reported|had ended|has reported|passed over|checkpoint/,
    plant: (t) =>
      replaceCommand(t, (table, jobId, command) => {
        const head = table.find(jobId)?.head;
        const ofLease = "lease" in command && command.kind !== "grant" && command.kind !== "fenceClosed";
        return ofLease && head?.job.status === RUNNING ? { ...command, lease: head.lease } : command;
      }),
  },
  {
    bug: "the journal takes appends whatever they expect",
    message: /two schedulers write|revision|no such job|goes back/,
    options: { ignoreExpected: true },
  },
  {
    bug: "a second append in flight does not name the first",
    message: /two schedulers write/,
    options: { runs: 3_000 },
    plant: (t) => {
      const { append } = Link.prototype;
      t.mock.method(Link.prototype, "append", function (this: Link, ...args: Parameters<Link["append"]>) {
        const { expectedLastMessageId: _, ...rest }: AppendOptions = args[2];
        return append.call(this, args[0], args[1], rest);
      });
    },
  },
  {
    bug: "a takeover does not know how far OUTCOMES was taken up",
    message: /passed over/,
    plant: (t) => {
      const { begin } = Term;
      t.mock.method(Term, "begin", async (...[options, projection]: Parameters<typeof Term.begin>) => {
        const { lastSequence } = await options.nats.streamInfo(Stream.outcomes);
        projection.position.outcomesThrough = lastSequence;
        return begin.call(Term, options, projection);
      });
    },
  },
  {
    bug: "a failure is retried although the job is to be cancelled",
    message: /a cancel was requested/,
    plant: (t) =>
      replaceCommand(t, (table, jobId, command) => {
        const entry = table.find(jobId);
        if (command.kind === "fail" && entry?.head?.lease === command.lease) {
          entry.head = { ...entry.head, job: { ...entry.head.job, cancelRequested: false } };
        }
        return command;
      }),
  },
  {
    bug: "the index takes changes of any lease",
    message: /the index took a change/,
    options: { fenceRule: () => true, shrinkRuns: 4_000 },
  },
  {
    bug: "calls are answered before they are durable",
    message: /is not in the journal|was acknowledged/,
    plant: (t) => {
      const { append } = Journal.prototype;
      t.mock.method(
        Journal.prototype,
        "append",
        function (this: Journal<unknown>, ...args: Parameters<Journal<unknown>["append"]>) {
          const batch = append.apply(this, args);
          batch.resolve();
          return batch;
        },
      );
    },
  },
  {
    bug: "leases take no slots",
    message: /slots of/,
    plant: (t) => {
      t.mock.method(Workers.prototype, "freeSlots", (worker: { slots: number }) => worker.slots);
    },
  },
  {
    bug: "workers count as lost too soon",
    message: /nothing kept it from being heard/,
    plant: (t) => {
      const { silent } = Workers.prototype;
      t.mock.method(Workers.prototype, "silent", function (this: Workers, nowMs: number) {
        return silent.call(this, nowMs, 100);
      });
    },
  },
  {
    bug: "concurrency keys hold nobody back",
    message: /others run with key|works on library/,
    plant: (t) => {
      t.mock.method(Concurrency.prototype, "admit", () => true);
    },
  },
  {
    bug: "fences of lost workers stay open",
    message: /open fence [1-9]/,
    plant: (t) => {
      t.mock.method(Fences.prototype, "add", () => undefined);
    },
  },
  {
    bug: "nothing wakes a job at its time",
    message: /has status 2/,
    plant: (t) => {
      t.mock.method(Timers.prototype, "add", () => undefined);
    },
  },
];

for (const { bug, message, plant, options } of PLANTED) {
  test(`found: ${bug}`, async (t) => {
    plant?.(t);
    const found = await search({ runs: 1_000, seed: 1, shrinkRuns: 800, ...options });
    assert.ok(found, "no schedule shows it");
    t.diagnostic(`schedule ${found.runs}: ${found.failures[0]}`);
    assert.match(found.failures.join("\n"), message);
    const size = found.plan.jobs.length + found.plan.actions.length;
    assert.ok(size <= 12, `the simplest schedule found has ${size} jobs and actions`);
  });
}

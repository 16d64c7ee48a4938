import fc from "fast-check";
import { type Action, ENDINGS, FAULTS_MS, type JobPlan, type Plan } from "./plan.ts";

const at = fc.nat(FAULTS_MS - 1);
/** Most things are asked soon, so that much happens at the same time. */
const early = fc.oneof({ weight: 3, arbitrary: fc.nat(2_000) }, { weight: 2, arbitrary: at });
const job = fc.nat(7);
const which = fc.nat(5);
const type = fc.constantFrom<JobPlan["type"]>("echo", "batch_import", "index_rebuild");
const pause = fc.oneof(fc.nat(1_500), fc.nat(FAULTS_MS));

const jobPlan: fc.Arbitrary<JobPlan> = fc
  .record({
    at: early,
    type,
    library: fc.constantFrom("", "library-1", "library-2"),
    ms: fc.constantFrom(0, 20, 300, 1_500, 3_000),
    checkpoints: fc.nat(2),
    endings: fc.array(fc.constantFrom(...ENDINGS), { maxLength: 3 }),
    maxRetries: fc.nat(3),
    withRequestId: fc.boolean(),
    delayMs: fc.constantFrom(0, 0, 0, 500, 4_000),
    executionTimeoutMs: fc.constantFrom(0, 0, 200, 2_000),
    totalTimeoutMs: fc.constantFrom(0, 0, 0, 1_000, 5_000),
    key: fc.constantFrom("", "", "key-1", "key-2"),
    keyLimit: fc.constantFrom(1, 1, 2),
    fastRetries: fc.constantFrom(true, true, false),
  })
  .map((plan) => {
    if (plan.type === "echo") return { ...plan, library: "" };
    return plan.library === "" ? { ...plan, library: "library-1" } : plan;
  });

const callAction: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ at, do: fc.constantFrom("cancel", "cancel", "retry", "delete", "get"), job }),
  fc.record({ at, do: fc.constantFrom("cancel", "retry", "retry from checkpoint"), job }),
  fc.record({ at, do: fc.constant("submit again"), job, newId: fc.boolean() }),
  fc.record({
    at,
    do: fc.constantFrom("pause", "resume"),
    type: fc.constantFrom("", "echo", "batch_import"),
  }),
  fc.record({ at, do: fc.constant("limit"), type, maxRunning: fc.nat(2) }),
);

const schedulerFault: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ at, do: fc.constant("kill scheduler"), which, ms: pause, keepStore: fc.boolean() }),
  fc.record({ at, do: fc.constantFrom("freeze scheduler", "stop scheduler"), which, ms: pause }),
  fc.record({ at, do: fc.constant("cut scheduler"), which, ms: pause, noticed: fc.boolean() }),
  fc.record({ at, do: fc.constant("shift clock"), which, ms: fc.integer({ min: -3_000, max: 3_000 }) }),
  fc.record({ at, do: fc.constant("lose leader key") }),
  fc.record({ at, do: fc.constant("break all links"), ms: pause }),
  fc.record({ at, do: fc.constant("lose append"), stream: fc.constant("JOURNAL"), stored: fc.boolean() }),
);

const workerFault: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ at, do: fc.constantFrom("kill worker", "freeze worker", "drain worker"), which, ms: pause }),
  fc.record({ at, do: fc.constant("cut worker"), which, ms: pause, noticed: fc.boolean() }),
  fc.record({ at, do: fc.constant("lose append"), stream: fc.constant("OUTCOMES"), stored: fc.boolean() }),
  fc.record({ at, do: fc.constant("index away"), ms: fc.nat(3_000) }),
);

/** Any schedule; the first values of each field are the simplest, which failing ones are shrunk to. */
export const anyPlan: fc.Arbitrary<Plan> = fc.record({
  seed: fc.nat(1_000_000),
  schedulers: fc.integer({ min: 1, max: 3 }),
  workers: fc.integer({ min: 1, max: 3 }),
  slots: fc.integer({ min: 1, max: 3 }),
  loss: fc.constantFrom(0, 0.02, 0.2),
  duplicates: fc.constantFrom(0, 0.1),
  journalMs: fc.constantFrom(0, 0, 40),
  keepJobs: fc.constantFrom(1_000, 1_000, 3),
  journalBytes: fc.constantFrom(1_000_000, 1_000_000, 16_000),
  jobs: fc.array(jobPlan, { minLength: 1, maxLength: 8 }),
  actions: fc.array(
    fc.oneof(
      { weight: 2, arbitrary: callAction },
      { weight: 2, arbitrary: schedulerFault },
      { weight: 2, arbitrary: workerFault },
    ),
    { maxLength: 12 },
  ),
});

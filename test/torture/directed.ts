import { setTimeout as sleep } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { isTerminal } from "./history.ts";
import type { EchoBody, ImportBody } from "./plan.ts";
import type { PlantedBug } from "./planted-bugs.ts";
import type { Bench, RunOptions } from "./run.ts";

/** Short plans, each of which makes one missing guard show within seconds. */
export type Directed = Pick<RunOptions, "shape" | "settings" | "settleTimeoutMs" | "script">;

const CALL_TIMEOUT_MS = 10_000;
const SETTINGS = { ARRW_LEASE_TIMEOUT_MS: "1000" };

const ECHO: EchoBody = {
  name: "",
  sleepMs: 0,
  steps: 0,
  failTimes: 0,
  failPermanently: false,
  snoozeTimes: 0,
  snoozeMs: 0,
  maxRetries: 3,
  runAtMs: 0,
  executionTimeoutMs: 0,
  totalTimeoutMs: 0,
  concurrencyKey: "",
  concurrencyLimit: 0,
};

function submit({ driver }: Bench, fields: Partial<EchoBody> & { readonly name: string }): Promise<void> {
  const body = { ...ECHO, ...fields };
  return driver.begin({ atMs: 0, timeoutMs: CALL_TIMEOUT_MS, kind: "submit", body, requestId: "" }, -1);
}

function importInto({ driver }: Bench, name: string, documents: number): Promise<void> {
  const documentIds = Array.from({ length: documents }, (_, n) => `document-${n}`);
  const body: ImportBody = { name, library: 0, documentIds, chunksPerDocument: 2, streamed: false };
  return driver.begin({ atMs: 0, timeoutMs: CALL_TIMEOUT_MS, kind: "import", body, requestId: "" }, -1);
}

function runs({ system }: Bench, body: string, afterLease = 0): Promise<number> {
  return eventually(
    () => {
      const lease = system.taps.ofBody(body)?.lease ?? 0;
      return lease > afterLease ? lease : 0;
    },
    { timeoutMs: 15_000, what: `${body} has a lease` },
  );
}

async function ends({ system }: Bench, body: string): Promise<void> {
  await eventually(
    () => {
      const job = system.taps.ofBody(body)?.job;
      return job !== undefined && isTerminal(job);
    },
    { timeoutMs: 15_000, what: `${body} has ended` },
  );
}

/** Kills a worker and waits until nobody gives it leases any more. */
async function without({ system, driver }: Bench, name: string): Promise<void> {
  await system.target(name).kill();
  const left = [...system.targets.keys()].filter((each) => each.startsWith("worker-")).length - 1;
  const counted = async (): Promise<boolean> => (await driver.workers()) === left;
  await eventually(counted, { timeoutMs: 15_000, what: `${name} counts as lost` });
}

const JOBS = [1, 2, 3, 4];

/** A worker that was frozen finishes what others run again by then: nothing that it says may count. */
const leaseCheck: Directed = {
  shape: { schedulers: 1, workers: 2, workerSlots: 8, libraries: 0 },
  settings: SETTINGS,
  settleTimeoutMs: 20_000,
  script: async (bench) => {
    const [first, second] = [bench.system.target("worker-1"), bench.system.target("worker-2")];
    await without(bench, second.name);
    await Promise.all(JOBS.map((n) => submit(bench, { name: `job-${n}`, sleepMs: 3_000 })));
    const leases = await Promise.all(JOBS.map((n) => runs(bench, `job-${n}`)));
    const frozenAtMs = performance.now();
    first.freeze();
    await second.start();
    await Promise.all(JOBS.map((n) => runs(bench, `job-${n}`, leases[n - 1])));
    // The frozen handlers' time is over then, and the new leases have some left.
    await sleep(Math.max(0, frozenAtMs + 3_100 - performance.now()));
    first.thaw();
    await Promise.all(JOBS.map((n) => ends(bench, `job-${n}`)));
  },
};

/** A leader that was frozen has work waiting for it when it wakes up; another one leads by then. */
const expectedSequence: Directed = {
  shape: { schedulers: 2, workers: 2, workerSlots: 8, libraries: 0 },
  settleTimeoutMs: 12_000,
  script: async (bench) => {
    const { system, recorder } = bench;
    const epochs = (): string[] =>
      recorder.entries.flatMap((entry) =>
        entry.kind === "batch" && entry.leader !== "" ? entry.leader : [],
      );
    const load = { on: true };
    const loading = (async () => {
      for (let n = 0; load.on; n++) {
        void submit(bench, { name: `short-${n}`, sleepMs: 200 });
        void submit(bench, { name: `failing-${n}`, sleepMs: 50, failTimes: 2 });
        await sleep(100);
      }
    })();
    try {
      await runs(bench, "short-5");
      const before = epochs();
      const leader = ["scheduler-1", "scheduler-2"].find((name) =>
        before.at(-1)?.endsWith(`:${system.link(`gateway > ${name}`).port}`),
      );
      if (leader === undefined) throw new Error(`nobody known leads: ${before.at(-1)}`);
      system.target(leader).freeze();
      await eventually(() => epochs().length > before.length, {
        timeoutMs: 15_000,
        what: "another one leads",
      });
      await sleep(500);
      system.target(leader).thaw();
      await sleep(2_000);
    } finally {
      load.on = false;
      await loading;
    }
  },
};

/** Jobs finish while no scheduler is there to hear it. */
const outcomesThrough: Directed = {
  shape: { schedulers: 1, workers: 1, workerSlots: 8, libraries: 0 },
  settleTimeoutMs: 6_000,
  script: async (bench) => {
    const { system, recorder } = bench;
    const scheduler = system.target("scheduler-1");
    await Promise.all(JOBS.map((n) => submit(bench, { name: `job-${n}`, sleepMs: 1_500 })));
    await Promise.all(JOBS.map((n) => runs(bench, `job-${n}`)));
    await scheduler.kill();
    const reported = (): number =>
      recorder.entries.filter((entry) => entry.kind === "outcome" && entry.sequence > 0).length;
    await eventually(() => reported() >= JOBS.length, { what: "the jobs have reported their ends" });
    await scheduler.start();
    await submit(bench, { name: "later" });
    await ends(bench, "later");
  },
};

const DOCUMENTS = 100;

/** What a worker has sent to the index arrives when its lease is long over and others have replaced the documents. */
const indexFence: Directed = {
  shape: { schedulers: 1, workers: 2, workerSlots: 2, libraries: 1 },
  settings: SETTINGS,
  settleTimeoutMs: 20_000,
  script: async (bench) => {
    const { system } = bench;
    const [first, second] = [system.target("worker-1"), system.target("worker-2")];
    const link = system.link("worker-1 > index");
    await without(bench, second.name);
    // Slow, so that it is in the midst of its batches for some seconds.
    link.delay(150);
    await importInto(bench, "old", DOCUMENTS);
    const lease = await runs(bench, "old");
    await second.start();
    await eventually(() => (system.taps.ofBody("old")?.checkpointNumber ?? 0) >= 2);
    link.hold("up");
    // More than acknowledgements of the protocol: a batch of documents.
    await eventually(() => link.heldBytes > 500, { what: "a batch of documents is held back" });
    first.freeze();
    await runs(bench, "old", lease);
    await ends(bench, "old");
    await importInto(bench, "new", DOCUMENTS);
    await ends(bench, "new");
    link.heal();
    await sleep(700);
    first.thaw();
  },
};

export const DIRECTED: Readonly<Record<PlantedBug["name"], Directed>> = {
  "lease-check": leaseCheck,
  "expected-sequence": expectedSequence,
  "outcomes-through": outcomesThrough,
  "index-fence": indexFence,
};

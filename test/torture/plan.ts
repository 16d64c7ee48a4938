import { seededRandom } from "../support/corpus.ts";

/** What a run does and when, made of its seed alone. Times are ms from the run's start. */

/** An echo job's body; what is 0, "" or false is left out of the request. */
export interface EchoBody {
  readonly name: string;
  readonly sleepMs: number;
  readonly steps: number;
  readonly failTimes: number;
  readonly failPermanently: boolean;
  readonly snoozeTimes: number;
  readonly snoozeMs: number;
  readonly maxRetries: number;
  /** Not before this time of the run. */
  readonly runAtMs: number;
  readonly executionTimeoutMs: number;
  readonly totalTimeoutMs: number;
  readonly concurrencyKey: string;
  readonly concurrencyLimit: number;
}

export interface ImportBody {
  readonly name: string;
  readonly library: number;
  readonly documentIds: readonly string[];
  readonly chunksPerDocument: number;
  /** Through ImportDocuments instead of SubmitJob. */
  readonly streamed: boolean;
}

interface At {
  readonly atMs: number;
  readonly timeoutMs: number;
}

export type Operation =
  | (At & { readonly kind: "submit"; readonly body: EchoBody; readonly requestId: string })
  | (At & { readonly kind: "import"; readonly body: ImportBody; readonly requestId: string })
  /** The others are about the job that the operation with number `of` makes. */
  | (At & { readonly kind: "cancel" | "get" | "watch" | "retry" | "delete"; readonly of: number });

export type FaultKind = "kill" | "stop" | "freeze" | "strand" | "cut" | "hold" | "delay" | "repeat";

export interface Fault {
  readonly atMs: number;
  readonly kind: FaultKind;
  /** A process for kill, stop, freeze and strand, a link for the others. */
  readonly target: string;
  readonly forMs: number;
  /** delay: ms each way; repeat: the copy comes so many ms later. */
  readonly byMs: number;
}

export interface Plan {
  readonly seed: number;
  readonly durationMs: number;
  readonly schedulers: number;
  readonly workers: number;
  readonly workerSlots: number;
  readonly libraries: number;
  /** In the order of their time. */
  readonly operations: readonly Operation[];
  readonly faults: readonly Fault[];
}

/** Numbers of one seed. */
class Dice {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  /** A whole number, both ends included. */
  between(min: number, max: number): number {
    return min + Math.floor(this.#random() * (max - min + 1));
  }

  chance(probability: number): boolean {
    return this.#random() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.#random() * items.length)] as T;
  }
}

const SCHEDULERS = 2;
const WORKERS = 3;
const WORKER_SLOTS = 6;
const LIBRARIES = 2;
/** Faults begin when the first jobs run, and the last one is over before the end. */
const FIRST_FAULT_MS = 2_000;
const OPERATION_EVERY_MS = 140;
/** Mean time from one fault to the next. */
export const FAULT_EVERY_MS = 2_200;

export function makePlan(seed: number, durationMs: number, faultEveryMs = FAULT_EVERY_MS): Plan {
  const dice = new Dice(seed);
  return {
    seed,
    durationMs,
    schedulers: SCHEDULERS,
    workers: WORKERS,
    workerSlots: WORKER_SLOTS,
    libraries: LIBRARIES,
    operations: makeOperations(dice, durationMs),
    faults: makeFaults(dice, durationMs, faultEveryMs),
  };
}

function makeOperations(dice: Dice, durationMs: number): Operation[] {
  const operations: Operation[] = [];
  /** Numbers of operations that make jobs. */
  const makers: number[] = [];
  for (let atMs = 0; atMs < durationMs; atMs += dice.between(20, 2 * OPERATION_EVERY_MS)) {
    const at = { atMs, timeoutMs: dice.pick([1_500, 4_000, 8_000, 15_000]) };
    const what = dice.between(1, 100);
    if (what <= 42 || makers.length === 0) {
      makers.push(operations.length);
      const requestId = dice.chance(0.5) ? `request-${operations.length}` : "";
      operations.push({
        ...at,
        kind: "submit",
        body: makeEcho(dice, `echo-${operations.length}`, atMs),
        requestId,
      });
    } else if (what <= 54) {
      makers.push(operations.length);
      operations.push({
        ...at,
        kind: "import",
        body: makeImport(dice, `import-${operations.length}`),
        requestId: "",
      });
    } else if (what <= 64) {
      const again = repeatOf(dice, operations, at, operations.length);
      if (again) operations.push(again);
    } else {
      // Most is about recent jobs: those still change.
      const of = dice.chance(0.8) ? dice.pick(makers.slice(-12)) : dice.pick(makers);
      const kind = dice.pick([
        "cancel",
        "cancel",
        "get",
        "get",
        "watch",
        "watch",
        "watch",
        "retry",
        "delete",
      ] as const);
      operations.push({ ...at, kind, of });
    }
  }
  return operations;
}

/** An earlier submit with a request_id once more; sometimes with another body, which must be refused. */
function repeatOf(
  dice: Dice,
  operations: readonly Operation[],
  at: At,
  number: number,
): Operation | undefined {
  const submits = operations.filter((each) => each.kind === "submit" && each.requestId !== "").slice(-10);
  if (submits.length === 0) return undefined;
  const submit = dice.pick(submits);
  if (submit.kind !== "submit") return undefined;
  const body = dice.chance(0.25) ? makeEcho(dice, `other-${number}`, at.atMs) : submit.body;
  return { ...at, kind: "submit", body, requestId: submit.requestId };
}

function makeEcho(dice: Dice, name: string, atMs: number): EchoBody {
  const fails = dice.chance(0.3);
  // An attempt that takes its time is one that reports of the attempts before can meet.
  const sleeps = fails ? dice.chance(0.7) : dice.chance(0.6);
  const sleepMs = sleeps ? dice.between(50, dice.chance(0.25) ? 6_000 : 1_500) : 0;
  const keyed = dice.chance(0.15);
  const key = dice.between(1, 3);
  return {
    name,
    sleepMs,
    steps: dice.chance(0.5) ? dice.between(1, 20) : 0,
    failTimes: fails ? dice.between(1, 3) : 0,
    failPermanently: dice.chance(0.05),
    snoozeTimes: dice.chance(0.1) ? dice.between(1, 2) : 0,
    snoozeMs: dice.between(100, 1_500),
    maxRetries: fails ? dice.between(1, 3) : 3,
    runAtMs: dice.chance(0.2) ? atMs + dice.between(200, 6_000) : 0,
    executionTimeoutMs: dice.chance(0.1) ? dice.between(200, 2_000) : 0,
    totalTimeoutMs: dice.chance(0.07) ? dice.between(1_000, 8_000) : 0,
    concurrencyKey: keyed ? `key-${key}` : "",
    concurrencyLimit: keyed ? key : 0,
  };
}

/** Ids of documents that many imports write, and of those that only one does. */
const SHARED_DOCUMENTS = 60;

function makeImport(dice: Dice, name: string): ImportBody {
  const shared = dice.chance(0.6);
  const count = dice.between(5, 40);
  const first = dice.between(0, SHARED_DOCUMENTS - count);
  const ids = Array.from({ length: count }, (_, n) => (shared ? `shared-${first + n}` : `${name}-${n}`));
  return {
    name,
    library: dice.between(0, LIBRARIES - 1),
    documentIds: ids,
    chunksPerDocument: dice.between(1, 4),
    streamed: dice.chance(0.3),
  };
}

interface FaultChoice {
  readonly kind: FaultKind;
  readonly targets: readonly string[];
  readonly forMs: readonly [number, number];
  readonly weight: number;
}

function choices(): FaultChoice[] {
  const numbered = (role: string, count: number): string[] =>
    Array.from({ length: count }, (_, n) => `${role}-${n + 1}`);
  const schedulers = numbered("scheduler", SCHEDULERS);
  const workers = numbered("worker", WORKERS);
  const services = [...schedulers, ...workers, "gateway"];
  const toNats = services.map((name) => `${name} > nats`);
  const toOthers = [
    ...services.map((name) => `${name} > index`),
    ...schedulers.map((name) => `gateway > ${name}`),
    "client > gateway",
  ];
  const reporting = [...workers, ...workers, ...schedulers].map((name) => `${name} > nats`);
  return [
    {
      kind: "kill",
      targets: [...schedulers, ...schedulers, ...workers, "index", "gateway", "nats"],
      forMs: [0, 2_500],
      weight: 25,
    },
    { kind: "stop", targets: [...schedulers, ...workers, "gateway"], forMs: [0, 1_500], weight: 8 },
    {
      kind: "freeze",
      targets: [...schedulers, ...schedulers, ...workers, ...workers, "index", "gateway"],
      forMs: [300, 7_000],
      weight: 20,
    },
    { kind: "strand", targets: workers, forMs: [8_000, 11_000], weight: 10 },
    { kind: "freeze", targets: ["nats"], forMs: [200, 3_000], weight: 3 },
    { kind: "cut", targets: [...toNats, ...toOthers], forMs: [0, 5_000], weight: 16 },
    { kind: "hold", targets: [...toNats, ...toOthers], forMs: [300, 7_000], weight: 18 },
    { kind: "delay", targets: [...toNats, ...toOthers], forMs: [1_000, 6_000], weight: 8 },
    { kind: "repeat", targets: reporting, forMs: [3_000, 10_000], weight: 18 },
  ];
}

function makeFaults(dice: Dice, durationMs: number, everyMs: number): Fault[] {
  const all = choices();
  const weights = all.reduce((sum, { weight }) => sum + weight, 0);
  const busyUntil = new Map<string, number>();
  const faults: Fault[] = [];
  for (let atMs = FIRST_FAULT_MS; atMs < durationMs; atMs += dice.between(everyMs / 4, (everyMs * 7) / 4)) {
    let drawn = dice.between(1, weights);
    const choice = all.find(({ weight }) => {
      drawn -= weight;
      return drawn <= 0;
    }) as FaultChoice;
    const target = dice.pick(choice.targets);
    const forMs = Math.min(dice.between(...choice.forMs), durationMs - atMs);
    const byMs =
      choice.kind === "delay"
        ? dice.between(20, 400)
        : choice.kind === "repeat"
          ? dice.pick([0, 0, 300, 1_200, 2_500, 5_000])
          : 0;
    // One thing at a time to one target: what is frozen can't be killed and started again.
    const busy = choice.kind === "strand" ? [target, `${target} > index`] : [target];
    if (busy.some((each) => (busyUntil.get(each) ?? 0) > atMs)) continue;
    for (const each of busy) busyUntil.set(each, atMs + forMs + 500);
    faults.push({ atMs, kind: choice.kind, target, forMs, byMs });
  }
  return faults;
}

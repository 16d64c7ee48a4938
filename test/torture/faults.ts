import { setTimeout as sleep } from "node:timers/promises";
import type { Fault } from "./plan.ts";
import { clockMs, type Recorder } from "./recorder.ts";
import type { TortureSystem } from "./system/torture-system.ts";

/** What a fault on NATS messages repeats: outcomes, heartbeats, assignments, cancellations. */
const REPEATED = /^arrw\.(outcomes$|heartbeat$|worker\.)/;

const STRAND_DELAY_MS = 150;
const STRAND_SLOW_MS = 2_500;
/** Time for a message to be sent, or to arrive. */
const STRAND_SEND_MS = 300;

/** Does faults to a system, each for its time, and makes good what it did. */
export class FaultInjector {
  readonly #system: TortureSystem;
  readonly #recorder: Recorder;
  readonly #onFault: (text: string) => void;
  readonly #running = new Set<Promise<void>>();
  #failure: Error | undefined;

  constructor(system: TortureSystem, recorder: Recorder, onFault: (text: string) => void) {
    this.#system = system;
    this.#recorder = recorder;
    this.#onFault = onFault;
  }

  begin(fault: Fault): void {
    const running = this.#run(fault)
      .catch((error: Error) => {
        this.#failure ??= error;
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Resolves when every fault is over. @throws when a process did not come back */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    if (this.#failure) throw this.#failure;
  }

  async #run(fault: Fault): Promise<void> {
    const { kind, target } = fault;
    const startMs = clockMs();
    this.#onFault(describe(fault));
    const detail = await this.#carryOut(fault);
    this.#recorder.add({ kind: "fault", fault: kind, target, startMs, endMs: clockMs(), detail });
  }

  #carryOut(fault: Fault): Promise<string> {
    const { kind, target, forMs } = fault;
    if (kind === "strand") return this.#strand(target, forMs);
    if (kind === "kill" || kind === "stop" || kind === "freeze") return this.#onProcess(kind, target, forMs);
    return this.#onLink(fault);
  }

  /**
   * What the worker has sent to the index arrives after its lease was given to another, and before it can hear of that:
   * its calls are slow for a while, then they are held back and it is frozen.
   */
  async #strand(name: string, forMs: number): Promise<string> {
    const target = this.#system.target(name);
    const link = this.#system.link(`${name} > index`);
    link.delay(STRAND_DELAY_MS);
    await sleep(STRAND_SLOW_MS);
    link.hold("up");
    await sleep(STRAND_SEND_MS);
    target.freeze();
    await sleep(Math.max(0, forMs - STRAND_SLOW_MS - STRAND_SEND_MS));
    const held = link.heldBytes;
    link.heal();
    await sleep(STRAND_SEND_MS);
    target.thaw();
    return `${held} bytes came late`;
  }

  async #onProcess(kind: "kill" | "stop" | "freeze", name: string, forMs: number): Promise<string> {
    const target = this.#system.target(name);
    if (kind === "freeze") {
      target.freeze();
      await sleep(forMs);
      target.thaw();
      return "";
    }
    const toldAtMs = clockMs();
    if (kind === "kill") await target.kill();
    else await target.stop();
    const endedAfterMs = Math.round(clockMs() - toldAtMs);
    await sleep(forMs);
    const startedAtMs = clockMs();
    await target.start();
    return `ended after ${endedAfterMs} ms, ready again after ${Math.round(clockMs() - startedAtMs)} ms`;
  }

  async #onLink({ kind, target, forMs, byMs }: Fault): Promise<string> {
    const link = this.#system.link(target);
    const repeatedBefore = link.repeated;
    if (kind === "cut") link.cut();
    else if (kind === "hold") link.hold();
    else if (kind === "delay") link.delay(byMs);
    else link.repeat({ subject: REPEATED, laterMs: byMs });
    await sleep(forMs);
    const held = link.heldBytes;
    link.heal();
    if (kind === "hold") return `${held} bytes came late`;
    return kind === "repeat" ? `${link.repeated - repeatedBefore} messages sent twice` : "";
  }
}

const VERBS: Readonly<Record<Fault["kind"], string>> = {
  kill: "SIGKILL, started again after",
  stop: "SIGTERM, started again after",
  freeze: "SIGSTOP, SIGCONT after",
  strand: "SIGSTOP with its link to the index held, for",
  cut: "link cut for",
  hold: "link holds everything back for",
  delay: "link delayed for",
  repeat: "messages repeated for",
};

export function describe({ kind, target, forMs, byMs }: Fault): string {
  const by = byMs > 0 ? ` (by ${byMs} ms)` : "";
  return `${target}: ${VERBS[kind]} ${forMs} ms${by}`;
}

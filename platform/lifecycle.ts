import type { Logger } from "./log.ts";

/** Every long-lived object: `start` resolves when it works, `stop` when it has stopped; `stop` twice is fine. */
export interface Lifecycle {
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** A part of a process with the name that logs show. */
export interface Part extends Lifecycle {
  readonly name: string;
}

/** Makes a part of two functions. */
export function part(name: string, start: () => Promise<void>, stop: () => Promise<void>): Part {
  return { name, start, stop };
}

/** Turns a function into one that runs once and gives every caller the same promise. */
export function once<T>(run: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= run();
    return result;
  };
}

/** Longest time a process whose parent is gone takes to stop. */
const ORPHAN_STOP_MS = 30_000;

/**
 * Runs a process: starts the parts in order, stops them in reverse order on SIGTERM or SIGINT, exits 0.
 * A second signal forces (exit 130). A part that can't start ends the process with exit code 1 and one line.
 * With an IPC channel to its parent it says `{ready: true}` there when all parts work, and it stops when the channel
 * closes: no process outlives a parent that was killed.
 */
export async function runProcess(parts: readonly Part[], log: Logger): Promise<void> {
  const started: Part[] = [];
  const stopAll = once(async () => {
    for (const each of started.reverse()) {
      await each.stop().catch((error: unknown) => log.error({ err: error, part: each.name }, "stop failed"));
    }
  });
  let signals = 0;
  let stopping = false;
  const stop = (reason: Record<string, string>): void => {
    stopping = true;
    log.info(reason, "stopping");
    void stopAll().then(() => process.exit(0));
  };
  const onDisconnect = (): void => {
    setTimeout(() => process.exit(1), ORPHAN_STOP_MS).unref();
    if (!stopping) stop({ reason: "parent is gone" });
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    signals += 1;
    if (signals > 1) process.exit(130);
    if (!stopping) stop({ signal });
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  process.on("unhandledRejection", (reason) => {
    log.fatal({ err: reason }, "unhandled rejection");
    process.exit(1);
  });
  process.on("disconnect", onDisconnect);
  // The parent may have gone while this process loaded its code.
  if (process.send !== undefined && !process.connected) onDisconnect();
  for (const each of parts) {
    if (stopping) return;
    try {
      started.push(each);
      await each.start();
    } catch (error) {
      if (stopping) return;
      const reason = error instanceof Error ? error.message : String(error);
      log.fatal({ part: each.name, err: error }, `${each.name} could not start: ${reason}`);
      await stopAll();
      process.exit(1);
    }
  }
  if (stopping) return;
  log.info({ event: "ready" }, "ready");
  // `arrw up` and tests wait for this instead of polling.
  if (process.connected) process.send?.({ ready: true }, undefined, undefined, () => undefined);
}

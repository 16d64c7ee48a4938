import type { Command } from "commander";
import { ArrwClient } from "../../client/index.ts";
import { Checks } from "../demo/checks.ts";
import { rebuildStep } from "../demo/rebuild-step.ts";
import { importStep, killStep, searchStep } from "../demo/steps.ts";
import { demoTexts } from "../demo/texts.ts";
import { duration, plural } from "../format.ts";
import { System } from "../supervisor.ts";
import { note, paint, print } from "../terminal.ts";

export function register(program: Command): void {
  program
    .command("demo")
    .description(
      "start a system on free ports, import, search, kill its worker, rebuild an index, check everything, clean up",
    )
    .action(runDemo);
}

const INTERRUPTED = 130;
const SHOWN_LOG_LINES = 30;

/** Exit code 0 when every check passes, 1 otherwise, 130 on a signal; nothing of the system is left in any case. */
export async function runDemo(): Promise<void> {
  const began = performance.now();
  const system = new System({ temporary: true });
  const abort = new AbortController();
  const onSignal = (): void => {
    if (abort.signal.aborted) system.force();
    else note("", "stopping");
    abort.abort(new Error("interrupted"));
    process.exitCode = INTERRUPTED;
    void system.stop();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  const checks = new Checks();
  try {
    await runSteps(system, checks, abort.signal);
    const failed = checks.failures.length;
    if (failed > 0) {
      note("", ...system.logs.slice(-SHOWN_LOG_LINES));
      throw new Error(
        [`${failed} of ${plural(failed + checks.passed, "check")} failed:`, ...checks.failures].join("\n  "),
      );
    }
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  } finally {
    await system.stop();
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(signal, onSignal);
  }
  if (abort.signal.aborted) return;
  const took = duration(performance.now() - began);
  print(
    "",
    paint(
      "green",
      `All ${plural(checks.passed, "check")} passed in ${took}; everything is stopped and removed.`,
    ),
  );
}

async function runSteps(system: System, checks: Checks, signal: AbortSignal): Promise<void> {
  print(paint("bold", "arrwDB demo"), "starting nats-server, index, scheduler, worker and gateway ...");
  const began = performance.now();
  const [texts] = await Promise.all([demoTexts(), system.start()]);
  signal.throwIfAborted();
  print(
    `ready in ${duration(performance.now() - began)}: gRPC at ${system.address}, data in ${system.dataDir}`,
  );
  const client = new ArrwClient({ address: system.address });
  try {
    const context = { client, system, checks, texts, signal };
    const libraryId = await importStep(context);
    await searchStep(context, libraryId);
    await killStep(context);
    await rebuildStep(context, libraryId);
  } finally {
    client.close();
  }
}

import type { Command } from "commander";
import { System, type SystemOptions } from "../supervisor.ts";

export function register(program: Command): void {
  program
    .command("up")
    .description("run everything here: nats-server, index, scheduler, worker and gateway; Ctrl-C stops it")
    .addHelpText("after", "\nPorts, data folder and all else are set by ARRW_* variables, see the README.")
    .action(() => runUp());
}

/**
 * Runs a system in the foreground until SIGINT, SIGTERM or SIGHUP, then drains it; a second signal kills it (exit code
 * 130). Lines go to stdout.
 * @throws Error in one line when it doesn't start
 */
export async function runUp(options: SystemOptions = {}): Promise<void> {
  const began = performance.now();
  const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
  const system = new System({ colour, onLine: (line) => process.stdout.write(`${line}\n`), ...options });
  let signals = 0;
  const onSignal = (): void => {
    signals += 1;
    if (signals > 1) {
      system.force();
      process.exit(130);
    }
    process.stdout.write("stopping; once more to kill everything\n");
    void system.stop().then(() => process.exit(0));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  // Whoever reads the lines may go away; the system runs on, where another command would end.
  process.stdout.removeAllListeners("error");
  process.stdout.on("error", () => undefined);
  try {
    await system.start();
  } catch (error) {
    // A signal during the start ends it; that is no failure.
    if (signals === 0) throw error;
    await new Promise<never>(() => undefined);
  }
  process.stdout.write(banner(system, (performance.now() - began) / 1_000));
}

/** What a user sees when everything runs: where it is and what to try. */
export function banner(system: System, seconds: number): string {
  const rows = [
    ["nats", system.natsUrl.replace(/^\w+:\/\//, "").replace(/[^,@]*@/g, ""), "NATS JetStream"],
    ...system.addresses.map(({ service, address, what }) => [service, address, what]),
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const table = rows.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`);
  const prefix = system.address.endsWith(":50051") ? "" : `ARRW_ADDRESS=${system.address} `;
  return [
    "",
    `arrwDB is up, data in ${system.dataDir}`,
    ...table.map((line) => line.trimEnd()),
    "",
    `gRPC  ${system.address}`,
    ...(system.httpUrl === "" ? [] : [`HTTP  ${system.httpUrl}, described at ${system.httpUrl}/docs`]),
    "",
    "Try:",
    `  ${prefix}npx arrw library create docs`,
    `  ${prefix}npx arrw import docs ./docs --watch`,
    `  ${prefix}npx arrw search docs "what survives a crash"`,
    "",
    `ready in ${seconds.toFixed(1)} s; Ctrl-C stops it`,
    "",
    "",
  ].join("\n");
}

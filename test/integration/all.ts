import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { setPriority } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * All integration tests, one file at a time: they measure time and share the machine. The simulation needs neither
 * sockets nor a wall clock, only computing: it runs beside the others, on what they leave of the processors.
 */

const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const TEST_TIMEOUT_MS = 180_000;
/** At the lowest priority it may be kept waiting for all that the others take. */
const SIMULATION_TIMEOUT_MS = 1_200_000;
const LOWEST_PRIORITY = 19;

const files = readdirSync(FOLDER, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".test.ts"))
  .sort()
  .map((name) => join(FOLDER, name));
const isSimulation = (file: string): boolean => file.startsWith(join(FOLDER, "simulation/"));

function start(which: readonly string[], timeoutMs: number, output: "pipe" | "inherit"): ChildProcess {
  const options = ["--import", "tsx", "--test", "--test-concurrency=1", `--test-timeout=${timeoutMs}`];
  return spawn(process.execPath, [...options, ...which], { stdio: ["ignore", output, output] });
}

const simulation = start(files.filter(isSimulation), SIMULATION_TIMEOUT_MS, "pipe");
const chunks: Buffer[] = [];
for (const stream of [simulation.stdout, simulation.stderr]) {
  stream?.on("data", (chunk: Buffer) => chunks.push(chunk));
}
const simulated = once(simulation, "close") as Promise<[number | null]>;
// Those that it starts inherit it.
if (simulation.pid !== undefined) setPriority(simulation.pid, LOWEST_PRIORITY);
process.on("exit", () => simulation.kill());
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const others = start(
  files.filter((file) => !isSimulation(file)),
  TEST_TIMEOUT_MS,
  "inherit",
);
process.on("exit", () => others.kill());
const [othersCode] = (await once(others, "close")) as [number | null];
const [simulationCode] = await simulated;
process.stdout.write(Buffer.concat(chunks));
process.exitCode = othersCode === 0 && simulationCode === 0 ? 0 : 1;

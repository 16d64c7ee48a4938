import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { setPriority } from "node:os";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * All integration tests, in three lanes side by side, each one file at a time: what the lanes have in common would take
 * too long in a row. Those of scheduler, workers and NATS, which measure time, are in one lane; the second one, of all
 * others, gives way to them; the simulation, which needs neither sockets nor a wall clock, gives way to both.
 */

const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const TIMED = new Set(["scheduler", "worker", "nats"]);

interface Lane {
  readonly name: string;
  readonly holds: (folder: string) => boolean;
  /** As of `nice`: 19 = what nobody else wants of the processors. */
  readonly priority: number;
  readonly testTimeoutMs: number;
}

const LANES: readonly Lane[] = [
  { name: "timed", holds: (folder) => TIMED.has(folder), priority: 0, testTimeoutMs: 180_000 },
  {
    name: "others",
    holds: (folder) => !TIMED.has(folder) && folder !== "simulation",
    priority: 5,
    testTimeoutMs: 180_000,
  },
  { name: "simulation", holds: (folder) => folder === "simulation", priority: 19, testTimeoutMs: 1_200_000 },
];

const files = readdirSync(FOLDER, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".test.ts"))
  .sort();
const children: ChildProcess[] = [];
process.on("exit", () => {
  for (const child of children) child.kill();
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

/** Its output comes in one piece when it has ended: lanes don't mix. */
async function run(lane: Lane): Promise<boolean> {
  const own = files.filter((name) => lane.holds(name.split(sep)[0] ?? "")).map((name) => join(FOLDER, name));
  const options = ["--import", "tsx", "--test", "--test-concurrency=1"];
  const child = spawn(process.execPath, [...options, `--test-timeout=${lane.testTimeoutMs}`, ...own], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  // Those that it starts inherit it.
  if (child.pid !== undefined) setPriority(child.pid, lane.priority);
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => chunks.push(chunk));
  }
  const startedAt = performance.now();
  const [code] = (await once(child, "close")) as [number | null];
  process.stdout.write(Buffer.concat(chunks));
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  process.stdout.write(`\n--- ${lane.name}: ${own.length} files in ${seconds} s, exit code ${code}\n`);
  return code === 0;
}

const passed = await Promise.all(LANES.map(run));
process.exitCode = passed.every(Boolean) ? 0 : 1;

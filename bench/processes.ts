import { readFileSync } from "node:fs";
import type { System } from "../cli/supervisor.ts";

const TICK_US = 10_000;

/** CPU time in us that a process has taken so far, user and system (Linux; 0 elsewhere). */
export function cpuUs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * TICK_US;
  } catch {
    return 0;
  }
}

/** Anonymous memory of a process in bytes: what it allocated, files that it mapped left out (Linux; 0 elsewhere). */
export function anonymousBytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Reads the CPU time of all processes of a system, and of this one. */
export function cpuOf(system: System): Map<string, number> {
  const usage = new Map<string, number>();
  for (const name of system.names) usage.set(name, cpuUs(system.pid(name) ?? 0));
  usage.set("client", cpuUs(process.pid));
  return usage;
}

/** "gateway 12, scheduler 40, ...": us of CPU per unit of work between two readings. */
export function cpuPerUnit(before: Map<string, number>, after: Map<string, number>, units: number): string {
  const parts = [...after].map(([name, us]) => [name, (us - (before.get(name) ?? 0)) / units] as const);
  const total = parts.reduce((sum, [, us]) => sum + us, 0);
  return `${parts.map(([name, us]) => `${name} ${us.toFixed(1)}`).join(", ")}; all ${total.toFixed(1)}`;
}

export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export function median(values: readonly number[]): number {
  return percentile(
    [...values].sort((a, b) => a - b),
    0.5,
  );
}

/** "p50 1.20, p99 3.10, max 9.00" in ms. */
export function latencies(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): string => percentile(sorted, share).toFixed(2);
  return `p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} ms`;
}

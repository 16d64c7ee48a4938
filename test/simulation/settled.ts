import { silentLog } from "../../platform/log.ts";
import { Projection } from "../../services/scheduler/projection.ts";
import type { Client } from "./client.ts";
import { Host } from "./host.ts";
import type { JournalChecker } from "./journal-checker.ts";
import { Disk, MemoryStore } from "./memory-store.ts";
import type { SimulatedScheduler } from "./scheduler.ts";
import type { Server } from "./server.ts";
import { isSettled, textOf } from "./states.ts";
import { Timeline } from "./timeline.ts";
import type { WorkerPool } from "./worker-pool.ts";

const SILENT = silentLog();

/** What has not come to rest; undefined = everything has. */
export function whatIsOpen(
  checker: JournalChecker,
  schedulers: readonly SimulatedScheduler[],
  workers: WorkerPool,
  client: Client,
  server: Server,
): string | undefined {
  if (client.open > 0) return `${client.open} calls have no answer`;
  for (const state of checker.jobs.values()) {
    if (isSettled(state)) continue;
    const { jobId, status, workerId } = state.job;
    return `${jobId} has status ${status}, lease ${state.lease} of ${workerId}, open fence ${state.fencePending}`;
  }
  const { queues } = checker;
  if (queues.length > 0) return `queue ${queues[0]?.type} is still paused or limited`;
  for (const { worker } of workers.running) {
    if (worker.held > 0) return `${worker.workerId} holds ${worker.held} leases`;
  }
  const leading = schedulers.filter((scheduler) => scheduler.leads);
  const backlog = leading[0]?.leader?.current()?.backlogBytes ?? 0;
  if (backlog > 0) return `${backlog} bytes are not durable`;
  if (leading.length !== 1) return `${leading.length} schedulers lead`;
  for (const { name, leader } of schedulers) {
    const sequence = leader?.projection?.position.sequence;
    if (sequence !== server.journal.last) return `${name} is at ${sequence} of ${server.journal.last}`;
  }
  return undefined;
}

/** At rest every view of the journal says the same: leader, standbys, and one made anew from what is left of it. */
export function* checkAtRest(
  checker: JournalChecker,
  schedulers: readonly SimulatedScheduler[],
  server: Server,
): Generator<string> {
  for (const { name, leader } of schedulers) {
    const term = leader?.current();
    if (leader?.projection) yield* compare(name, leader.projection, checker);
    if (!term) continue;
    for (const worker of term.workers) {
      if (worker.leases.size > 0)
        yield `${name}: ${worker.workerId} has ${worker.leases.size} leases at rest`;
    }
  }
  yield* compare("a fresh projection", fresh(server), checker);
}

/** What the journal says to somebody who has nothing else. */
function fresh({ journal }: Server): Projection {
  const host = new Host(new Timeline(), "fresh", 0);
  const { firstSequence, createdAt } = journal.info();
  const position = {
    streamCreatedAt: createdAt,
    sequence: Math.max(1, firstSequence) - 1,
    bytes: new Uint8Array(0),
    outcomesThrough: 0,
    lastLease: 0n,
    queues: [],
    lastAtMs: 0,
  };
  const projection = new Projection(new MemoryStore(new Disk(), host), position, host.clock, SILENT);
  for (let sequence = position.sequence + 1; sequence <= journal.last; sequence++) {
    const data = journal.get(sequence);
    if (data) projection.follow({ sequence, subject: journal.subject, data, pending: 0 });
  }
  return projection;
}

function* compare(name: string, { table, store }: Projection, checker: JournalChecker): Generator<string> {
  for (const [jobId, state] of checker.jobs) {
    const entry = table.find(jobId);
    if (entry?.head !== entry?.committed) yield `${name}: head and committed of ${jobId} differ`;
    if (textOf(entry?.committed) !== textOf(state))
      yield `${name} has another state of ${jobId} than the journal`;
  }
  for (const jobId of checker.history.keys()) {
    if (!checker.jobs.has(jobId) && table.find(jobId)?.head)
      yield `${name} still has ${jobId}, which is deleted`;
  }
  if (table.active !== 0) yield `${name} counts ${table.active} active jobs at rest`;
  const total = store.counts.total(undefined);
  if (total !== checker.jobs.size) yield `${name} counts ${total} jobs of ${checker.jobs.size}`;
}

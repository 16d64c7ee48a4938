import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { unary } from "../platform/grpc/client.ts";
import { silentLog } from "../platform/log.ts";
import { Nats } from "../platform/nats/connection.ts";
import { findNatsServer, startNatsServer } from "../platform/nats/launcher.ts";
import { ensureStreams } from "../platform/nats/streams.ts";
import { ListJobsRequest } from "../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { uniform } from "./clustered.ts";
import { percentile } from "./processes.ts";
import { ENDED, type Filled, fillJournal, TYPES } from "./retained-fill.ts";
import { SchedulerProcess } from "./scheduler-process.ts";

/**
 * A scheduler with many ended jobs: time to lead from an empty store and from a full one, memory, lists.
 *
 *     npm run bench -- retained [--jobs 1000000] [--calls 200] [--profile <folder>]
 *
 * The journal is written first, three records a job, as a leader would have: 5 types, 3 statuses, 200 libraries, two
 * labels a job. Lists: pages of 50, four pages deep, each total compared with what was written.
 */

const PAGE_SIZE = 50;
const PAGES = 4;
const GIB = 1024 ** 3;
/** Memory is looked at when the first loops have run. */
const SETTLE_MS = 10_000;

interface Kind {
  readonly name: string;
  filter(): Filter;
}

interface Filter {
  readonly statuses?: number[];
  readonly types?: string[];
  readonly libraryId?: string;
  readonly labels?: Record<string, string>;
}

export async function benchRetained(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      jobs: { type: "string", default: "1000000" },
      calls: { type: "string", default: "200" },
      profile: { type: "string" },
    },
  });
  const [jobs, calls] = [Number(values.jobs), Number(values.calls)];
  const folder = await mkdtemp(join(tmpdir(), "arrw-bench-"));
  const { path: binary } = await findNatsServer();
  const server = await startNatsServer({
    binary,
    storeDir: join(folder, "nats"),
    port: 0,
    syncAlways: false,
  });
  const nats = new Nats({ url: server.url, name: "bench", log: silentLog() });
  const settings = { ARRW_NATS_URL: server.url, ARRW_DATA_DIR: folder, ARRW_OBJECTS_MAX_BYTES: String(GIB) };
  const profile = values.profile ? ["--cpu-prof", `--cpu-prof-dir=${values.profile}`] : [];
  const scheduler = await SchedulerProcess.at(settings, profile);
  try {
    await nats.start();
    await ensureStreams(nats, { journalMaxBytes: 8 * GIB, objectsMaxBytes: GIB, replicas: 1 });
    const startedAt = performance.now();
    const filled = await fillJournal(nats, jobs);
    const seconds = (performance.now() - startedAt) / 1000;
    const mb = Math.round(filled.bytes / 1024 ** 2);
    console.log(
      `${jobs} ended jobs, ${3 * jobs} records, ${mb} MB of journal, written in ${seconds.toFixed(1)} s`,
    );
    await begin(scheduler, "from an empty store");
    await scheduler.stop();
    await begin(scheduler, "with the store, after a stop");
    await scheduler.stop("SIGKILL");
    await begin(scheduler, "with the store, after a kill");
    await lists(scheduler, filled, calls);
    show("after the lists", scheduler);
  } finally {
    await scheduler.stop();
    scheduler.client.close();
    await nats.stop();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function begin(scheduler: SchedulerProcess, how: string): Promise<void> {
  const seconds = await scheduler.start();
  const cpu = scheduler.cpuSeconds();
  show(`leads ${how} within ${seconds.toFixed(2)} s, ${cpu.toFixed(1)} s of CPU`, scheduler);
  await pause(SETTLE_MS);
  show(`  ${SETTLE_MS / 1000} s later`, scheduler);
}

function show(what: string, scheduler: SchedulerProcess): void {
  const { rssAnonMb, rssFileMb } = scheduler.memory();
  console.log(`${what}: RssAnon ${rssAnonMb} MB, RssFile ${rssFileMb} MB`);
}

async function lists(scheduler: SchedulerProcess, filled: Filled, calls: number): Promise<void> {
  const status = () => [ENDED[Math.floor(uniform() * ENDED.length)] as number];
  const type = () => [TYPES[Math.floor(uniform() * TYPES.length)] as string];
  const library = () => filled.libraries[Math.floor(uniform() * filled.libraries.length)] as string;
  const batches = [...filled.labels.keys()].filter((label) => label.startsWith("batch=")).length;
  const batch = () => String(Math.floor(uniform() * batches));
  const kinds: Kind[] = [
    { name: "all", filter: () => ({}) },
    { name: "status", filter: () => ({ statuses: status() }) },
    { name: "type", filter: () => ({ types: type() }) },
    { name: "library", filter: () => ({ libraryId: library() }) },
    { name: "status, type", filter: () => ({ statuses: status(), types: type() }) },
    { name: "status, library", filter: () => ({ statuses: status(), libraryId: library() }) },
    { name: "type, library", filter: () => ({ types: type(), libraryId: library() }) },
    {
      name: "status, type, library",
      filter: () => ({ statuses: status(), types: type(), libraryId: library() }),
    },
    { name: "label of 5 %", filter: () => ({ labels: { team: `team-${Math.floor(uniform() * 20)}` } }) },
    { name: "label of 500 jobs", filter: () => ({ labels: { batch: batch() } }) },
    { name: "label of none", filter: () => ({ labels: { team: "nobody" } }) },
    { name: "label, library", filter: () => ({ labels: { team: "team-1" }, libraryId: library() }) },
    { name: "label, status", filter: () => ({ labels: { team: "team-1" }, statuses: status() }) },
  ];
  const first: number[] = [];
  await walk(scheduler, {}, filled, first, { right: 0, wrong: 0, unset: 0 });
  console.log(
    `lists: the first one, which starts the thread, ${first[0]?.toFixed(0)} ms; then ms of ${calls} calls a row,`,
  );
  console.log(`  pages of ${PAGE_SIZE}, ${PAGES} pages deep`);
  for (const kind of kinds) {
    const times: number[] = [];
    const totals = { right: 0, wrong: 0, unset: 0 };
    let jobs = 0;
    while (times.length < calls) jobs += await walk(scheduler, kind.filter(), filled, times, totals);
    times.sort((a, b) => a - b);
    const [p50, p99, most] = [percentile(times, 0.5), percentile(times, 0.99), times.at(-1) ?? 0];
    const shown = `p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)}, most ${most.toFixed(1)}`;
    const { right, wrong, unset } = totals;
    const perPage = (jobs / times.length).toFixed(0);
    console.log(
      `  ${kind.name.padEnd(22)} ${shown.padEnd(34)} ${perPage} jobs a page; totals right ${right}, wrong ${wrong}, unset ${unset}`,
    );
  }
}

/** A list and some pages of it. @returns the jobs it had */
async function walk(
  scheduler: SchedulerProcess,
  filter: Filter,
  filled: Filled,
  times: number[],
  totals: { right: number; wrong: number; unset: number },
): Promise<number> {
  const { client } = scheduler;
  let pageToken = "";
  let jobs = 0;
  let last = "~";
  for (let page = 0; page < PAGES; page++) {
    const request = ListJobsRequest.fromPartial({ filter, pageSize: PAGE_SIZE, pageToken } as never);
    const startedAt = performance.now();
    const reply = await unary(client, client.listJobs, request, { timeoutMs: 60_000 });
    times.push(performance.now() - startedAt);
    for (const job of reply.jobs) {
      if (job.jobId >= last || !matches(job, filter))
        throw new Error(`job ${job.jobId} does not belong there`);
      last = job.jobId;
    }
    jobs += reply.jobs.length;
    if (reply.totalSize === undefined) totals.unset += 1;
    else if (Number(reply.totalSize) === expected(filter, filled)) totals.right += 1;
    else totals.wrong += 1;
    pageToken = reply.nextPageToken;
    if (pageToken === "") break;
  }
  return jobs;
}

interface Row {
  readonly status: number;
  readonly type: string;
  readonly libraryId: string;
  readonly labels: Readonly<Record<string, string>>;
}

function matches(row: Row, { statuses, types, libraryId, labels }: Filter): boolean {
  if (statuses && !statuses.includes(row.status)) return false;
  if (types && !types.includes(row.type)) return false;
  if (libraryId && libraryId !== row.libraryId) return false;
  return Object.entries(labels ?? {}).every(([key, value]) => row.labels[key] === value);
}

function expected(filter: Filter, filled: Filled): number {
  const { labels, libraryId, statuses } = filter;
  if (labels) {
    const parts = [...Object.entries(labels).map((label) => label.join("=")), libraryId, statuses?.[0]];
    return filled.labels.get(parts.filter((part) => part !== undefined).join(", ")) ?? 0;
  }
  let total = 0;
  for (const [group, jobs] of filled.groups) {
    const [status = "", type = "", library = ""] = group.split("/");
    const row = { status: Number(status), type, libraryId: library, labels: {} };
    if (matches(row, filter)) total += jobs;
  }
  return total;
}

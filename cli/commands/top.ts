import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import { type ArrwClient, ClientError, type Job, JobStatus, type Worker } from "../../client/index.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { EventRates } from "../event-rates.ts";
import { toJson } from "../json.ts";
import { Screen } from "../screen.ts";
import { print, printJson } from "../terminal.ts";
import { type Rates, type TopState, topFrame } from "../top-frame.ts";
import { untilInterrupted } from "../watch-job.ts";

interface TopOptions extends ClientCommandOptions {
  readonly once?: boolean;
}

const REFRESH_MS = 1_000;
const CALL_MS = 5_000;
const NEWEST = 50;
const NAMES_MS = 5_000;
/** Jobs whose progress is asked for besides. */
const WITH_PROGRESS = 10;
/** Without a terminal. */
const PLAIN_SIZE = { columns: 120, rows: 60 };

export function register(program: Command): void {
  withClientOptions(program.command("top"))
    .description("queues, workers, rates and the newest jobs, each second; q leaves")
    .option("--once", "print it once, after a second in which rates are measured")
    .action(run);
}

async function run(options: TopOptions): Promise<void> {
  const { json = false } = options;
  const once = options.once || (!json && process.stdout.isTTY !== true);
  await withClient(options, (client) =>
    untilInterrupted(async (signal) => {
      const left = new AbortController();
      const ended = AbortSignal.any([signal, left.signal]);
      const source = new Source(client, ended);
      try {
        if (once || json) await printed(source, { once, json, signal: ended });
        else await shown(source, () => left.abort(), ended);
      } catch (error) {
        // Leaving is what one does with it: no failure, and no interruption either.
        if (!ended.aborted) throw error;
      } finally {
        left.abort();
      }
    }),
  );
}

interface PrintOptions {
  readonly once: boolean;
  readonly json: boolean;
  readonly signal: AbortSignal;
}

async function printed(source: Source, { once, json, signal }: PrintOptions): Promise<void> {
  await source.refresh();
  do {
    await delay(REFRESH_MS, undefined, { signal });
    const state = await source.refresh();
    if (json) printJson(topJson(state));
    else print(...topFrame(state, size(), new Date()));
  } while (!once);
}

function size(): { readonly columns: number; readonly rows: number } {
  const { isTTY, columns, rows } = process.stdout;
  return isTTY ? { columns: columns ?? 80, rows: (rows ?? 24) - 1 } : PLAIN_SIZE;
}

async function shown(source: Source, leave: () => void, signal: AbortSignal): Promise<void> {
  // The first one fails where nothing could be shown.
  let state = await source.refresh();
  const screen = new Screen({
    onLeave: leave,
    onResize: () => screen.draw(topFrame(state, screen.size, new Date())),
  });
  screen.open();
  try {
    for (;;) {
      screen.draw(topFrame(state, screen.size, new Date()));
      await delay(REFRESH_MS, undefined, { signal });
      state = await source.refresh(state);
    }
  } finally {
    screen.close();
  }
}

/** A frame as JSON: what the calls answer, and the rates. */
function topJson({ stats, workers, jobs, rates, trouble }: TopState) {
  return {
    at: new Date().toISOString(),
    stats: toJson(stats),
    workers: typeof workers === "string" ? null : toJson(workers),
    rates: toJson(rates),
    newest_jobs: toJson(jobs),
    trouble,
  };
}

/** Asks for what a frame shows. */
class Source {
  readonly #client: ArrwClient;
  readonly #signal: AbortSignal;
  readonly #rates = new EventRates(performance.now());
  #names: ReadonlyMap<string, string> = new Map();
  #namesAtMs = Number.NEGATIVE_INFINITY;
  #workersHidden = "";

  constructor(client: ArrwClient, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
    void this.#countEvents();
  }

  /** With `before`, what is asked again fails softly: its state is shown on, with what is wrong. */
  async refresh(before?: TopState): Promise<TopState> {
    const settings = { timeoutMs: CALL_MS, signal: this.#signal };
    try {
      const [stats, workers, list] = await Promise.all([
        this.#client.stats(settings),
        this.#workers(settings),
        this.#client.list({ pageSize: NEWEST }, settings),
      ]);
      const jobs = await this.#withProgress(list.jobs, settings);
      if (jobs.some(({ libraryId }) => libraryId !== "" && !this.#names.has(libraryId)))
        await this.#learnNames();
      const { address } = this.#client;
      return { address, stats, workers, jobs, names: this.#names, rates: this.#current(), trouble: "" };
    } catch (error) {
      if (!before || this.#signal.aborted) throw error;
      return { ...before, rates: this.#current(), trouble: `no answer: ${(error as Error).message}` };
    }
  }

  /** A key that is confined to libraries may not see them. */
  async #workers(settings: { readonly timeoutMs: number }): Promise<readonly Worker[] | string> {
    if (this.#workersHidden !== "") return this.#workersHidden;
    try {
      return await this.#client.queues.workers(settings);
    } catch (error) {
      if (!(error instanceof ClientError) || error.code !== "PERMISSION_DENIED") throw error;
      this.#workersHidden = "workers: not to be seen with this key";
      return this.#workersHidden;
    }
  }

  /** A list's jobs are without what they have done since their last transition. */
  async #withProgress(jobs: readonly Job[], settings: { readonly timeoutMs: number }): Promise<Job[]> {
    const running = jobs
      .filter(({ status }) => status === JobStatus.JOB_STATUS_RUNNING)
      .slice(0, WITH_PROGRESS);
    const current = await Promise.all(
      running.map((job) => this.#client.get(job.jobId, settings).catch(() => job)),
    );
    const byId = new Map(current.map((job) => [job.jobId, job]));
    return jobs.map((job) => byId.get(job.jobId) ?? job);
  }

  /** Some are not to be learnt: a library that is gone has no name. */
  async #learnNames(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs < this.#namesAtMs + NAMES_MS) return;
    this.#namesAtMs = nowMs;
    const { libraries } = await this.#client.listLibraries({ pageSize: 1_000 }, { timeoutMs: CALL_MS });
    this.#names = new Map(libraries.map(({ libraryId, name }) => [libraryId, name]));
  }

  #current(): Rates {
    const nowMs = performance.now();
    const of = (event: string): number => this.#rates.perSecond(event, nowMs);
    return { submitted: of("job.submitted"), completed: of("job.completed"), failed: of("job.failed") };
  }

  async #countEvents(): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        for await (const { event } of this.#client.watchJobs({ signal: this.#signal })) {
          this.#rates.add(event, performance.now());
        }
      } catch {
        // Far behind, or away for long: from then on.
        await delay(REFRESH_MS, undefined, { signal: this.#signal }).catch(() => undefined);
      }
    }
  }
}

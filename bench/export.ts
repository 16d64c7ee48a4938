import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type System, startSystem } from "../cli/supervisor.ts";
import type { DocumentInput } from "../client/import-stream.ts";
import { ArrwClient, type ExportOptions, type Job, JobStatus } from "../client/index.ts";
import { anonymousBytes, cpuOf, cpuPerUnit } from "./processes.ts";

const PROCESSES = ["worker", "index", "gateway"] as const;
const SAMPLE_MS = 100;
const MAX_RSS_ANON_BYTES = 300e6;
/** Bytes that a number takes in JSON, about. */
const NUMBER_BYTES = 11;

/**
 * A batch_export of a library with client vectors, and its download, with the memory of the processes that take part:
 *
 *     npm run bench -- export [--bytes 2000000000] [--dimensions 768] [--format ndjson] [--gzip] [--write]
 *
 * The processes are started anew between the import and the export. With --write an import replaces all documents
 * meanwhile. The index is flat, so that the import takes minutes rather than hours; an export reads no index.
 */
export async function benchExport(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      bytes: { type: "string", default: "2000000000" },
      dimensions: { type: "string", default: "768" },
      format: { type: "string", default: "ndjson" },
      gzip: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
    },
  });
  const dimensions = Number(values.dimensions);
  const count = Math.ceil(Number(values.bytes) / (dimensions * NUMBER_BYTES + 400));
  const system = await startSystem({ temporary: true, settings: { ARRW_LOG_LEVEL: "warn" } });
  const client = new ArrwClient({ address: system.address, timeoutMs: 600_000 });
  try {
    const embedding = { provider: "none", model: "", dimensions };
    const { libraryId } = await client.createLibrary({ name: "export", embedding, indexType: "flat" });
    const source = (): Generator<DocumentInput> => documents(count, dimensions);
    await ended(client, await client.importDocuments(libraryId, source()));
    for (const name of PROCESSES) await restarted(system, name);
    await client.connect({ timeoutMs: 30_000 });
    const options: ExportOptions = {
      format: values.format as NonNullable<ExportOptions["format"]>,
      includeEmbeddings: true,
      gzip: values.gzip,
    };
    await measured(system, client, libraryId, options, values.write ? source : undefined);
  } finally {
    client.close();
    await system.stop();
  }
}

async function measured(
  system: System,
  client: ArrwClient,
  libraryId: string,
  options: ExportOptions,
  writes: (() => Generator<DocumentInput>) | undefined,
): Promise<void> {
  const memory = new Memory(system);
  memory.report();
  const cpu = cpuOf(system);
  const startedAt = performance.now();
  const exporting = await client.exportLibrary(libraryId, options);
  const writing = writes && client.importDocuments(libraryId, writes()).then((job) => ended(client, job));
  const job = await ended(client, exporting);
  const result = job.result?.result;
  if (result?.$case !== "batchExport") throw new Error("the job has no result");
  const bytes = Number(result.value.fileSizeBytes);
  report(`export, ${options.format}${options.gzip ? " gzip" : ""}`, bytes, startedAt);
  console.log(`  CPU us per kB: ${cpuPerUnit(cpu, cpuOf(system), bytes / 1_000)}`);
  memory.report();
  await writing;
  const from = performance.now();
  const hash = createHash("sha256");
  for await (const { data } of client.downloadExport(job.jobId)) hash.update(data);
  if (hash.digest("hex") !== result.value.sha256) throw new Error("what came is not what was exported");
  report("download", bytes, from);
  memory.report();
  const worst = await memory.stop();
  console.log(
    `RssAnon at most ${megabytes(worst)} MB; ${worst <= MAX_RSS_ANON_BYTES ? "within" : "ABOVE"} 300 MB`,
  );
}

/** The highest RssAnon of each process, sampled. */
class Memory {
  readonly #system: System;
  readonly #peaks = new Map<string, number>();
  readonly #sampling: Promise<void>;
  #stopped = false;

  constructor(system: System) {
    this.#system = system;
    this.#look();
    this.#sampling = this.#sample();
  }

  report(): void {
    const shown = [...this.#peaks].map(([name, bytes]) => `${name} ${megabytes(bytes)}`);
    console.log(`  RssAnon so far at most, MB: ${shown.join(", ")}`);
  }

  async stop(): Promise<number> {
    this.#stopped = true;
    await this.#sampling;
    return Math.max(...this.#peaks.values());
  }

  async #sample(): Promise<void> {
    while (!this.#stopped) {
      this.#look();
      await delay(SAMPLE_MS);
    }
  }

  #look(): void {
    for (const name of PROCESSES) {
      const now = anonymousBytes(this.#system.pid(name) ?? 0);
      this.#peaks.set(name, Math.max(this.#peaks.get(name) ?? 0, now));
    }
  }
}

function report(what: string, bytes: number, startedAt: number): void {
  const seconds = (performance.now() - startedAt) / 1_000;
  const rate = (bytes / 1e6 / seconds).toFixed(1);
  console.log(`${what}: ${megabytes(bytes)} MB in ${seconds.toFixed(1)} s, ${rate} MB/s`);
}

async function ended(client: ArrwClient, { jobId }: Job): Promise<Job> {
  const job = await client.wait(jobId);
  if (job.status !== JobStatus.JOB_STATUS_COMPLETED) throw new Error(JSON.stringify(job.error));
  return job;
}

async function restarted(system: System, name: string): Promise<void> {
  const ready = new Promise<void>((resolve) => {
    const onReady = (which: string): void => {
      if (which !== name) return;
      system.events.off("ready", onReady);
      resolve();
    };
    system.events.on("ready", onReady);
  });
  process.kill(system.pid(name) ?? 0, "SIGKILL");
  await ready;
}

function* documents(count: number, dimensions: number): Generator<DocumentInput> {
  let state = 1;
  for (let n = 0; n < count; n++) {
    const vector = new Float32Array(dimensions);
    for (let d = 0; d < dimensions; d++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      vector[d] = state / 2 ** 31 - 1;
    }
    const text = `The text of document ${n}, long enough to look like one. `.repeat(5);
    yield {
      documentId: `document-${n}`,
      title: `Document ${n}`,
      texts: [text],
      vectors: [{ values: [], packed: Buffer.from(vector.buffer) }],
    };
  }
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);

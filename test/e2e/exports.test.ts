import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { startSystem } from "../../cli/supervisor.ts";
import {
  ArrwClient,
  type DocumentInput,
  type ExportOptions,
  type Job,
  JobStatus,
} from "../../client/index.ts";
import { arrw } from "../support/arrw.ts";
import { realDocuments } from "../support/corpus.ts";
import { eventually } from "../support/eventually.ts";
import { tempDir } from "../support/temp.ts";

const DIMENSIONS = 64;

async function start(t: TestContext, settings: Record<string, string> = {}) {
  const system = await startSystem({ temporary: true, settings });
  t.after(() => system.stop());
  const client = new ArrwClient({ address: system.address });
  t.after(() => client.close());
  return { system, client };
}

const idOf = (n: number): string => `document-${String(n).padStart(6, "0")}`;

/** Vectors of their own, so that nothing has to be embedded: an edition names all of a document. */
function* documents(from: number, to: number, edition: string): Generator<DocumentInput> {
  for (let n = from; n < to; n++) {
    const values = Float32Array.from({ length: DIMENSIONS }, (_, d) =>
      Math.sin(n * 31 + d * 7 + edition.length),
    );
    yield {
      documentId: idOf(n),
      title: edition,
      texts: [`${edition} ${n} ${"lorem ipsum ".repeat(20)}`],
      metadata: { edition, n },
      vectors: [{ packed: Buffer.from(values.buffer) }],
    };
  }
}

async function filled(client: ArrwClient, name: string, count: number): Promise<string> {
  const embedding = { provider: "none", model: "", dimensions: DIMENSIONS };
  const { libraryId } = await client.createLibrary({ name, embedding });
  await done(client, await client.importDocuments(libraryId, documents(0, count, "first")));
  return libraryId;
}

async function done(client: ArrwClient, { jobId }: Job): Promise<Job> {
  const job = await client.wait(jobId);
  assert.equal(job.status, JobStatus.JOB_STATUS_COMPLETED, JSON.stringify(job.error));
  return job;
}

/** The file of a completed export, checked against what the job says of it. */
async function fileOf(client: ArrwClient, job: Job): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const { data } of client.downloadExport(job.jobId)) pieces.push(data);
  const file = Buffer.concat(pieces);
  const result = job.result?.result;
  assert.ok(result?.$case === "batchExport");
  assert.equal(file.length, Number(result.value.fileSizeBytes));
  assert.equal(createHash("sha256").update(file).digest("hex"), result.value.sha256);
  return file;
}

interface Line {
  readonly document_id: string;
  readonly title: string;
  readonly vectors?: readonly number[][];
}

function linesOf(file: Buffer): Line[] {
  const text = file.toString();
  assert.ok(text === "" || text.endsWith("\n"));
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}

function assertFirst(lines: readonly Line[], count: number): void {
  assert.deepEqual(
    lines.map(({ document_id }) => document_id),
    Array.from({ length: count }, (_, n) => idOf(n)),
  );
  const others = lines.filter(({ title }) => title !== "first");
  assert.deepEqual(others.length, 0, `documents of after the export's start, as ${others[0]?.document_id}`);
}

/** The job when it has been exporting for a while. */
async function underWay(client: ArrwClient, jobId: string, least = 1n): Promise<Job> {
  for await (const job of client.watch(jobId)) {
    if ((job.progress?.current ?? 0n) >= least) return job;
  }
  throw new Error("the job ended before it was seen under way");
}

const NDJSON: ExportOptions = { format: "ndjson", includeEmbeddings: true };

test("export, import, export: the same file; texts come back as chunks without vectors too", async (t) => {
  const { system, client } = await start(t);
  const folder = await tempDir(t);
  const { libraryId } = await client.createLibrary({ name: "real" });
  await done(client, await client.importDocuments(libraryId, realDocuments(300, 1)));
  const file = (name: string): string => join(folder, name);
  const run = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await arrw(system.address, args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const saved = await run("export", "real", "-o", file("one.ndjson"), "--embeddings");
  assert.match(saved, /saved {2}.*one\.ndjson, .* sha256 [0-9a-f]{64}/);
  await run("library", "create", "again");
  await run("import", "again", file("one.ndjson"), "--watch");
  await run("export", "again", "-o", file("two.ndjson.gz"), "--embeddings");
  const one = await readFile(file("one.ndjson"));
  assert.ok(linesOf(one).length === 300 && one.length > 100_000);
  assert.ok(gunzipSync(await readFile(file("two.ndjson.gz"))).equals(one));

  await run("export", "real", "-o", file("texts.ndjson"));
  await run("library", "create", "texts");
  await run("import", "texts", file("texts.ndjson"), "--watch");
  assert.ok(
    Buffer.from(await run("export", "texts", "-o", "-", "--embeddings", "--format", "ndjson")).equals(one),
  );

  const json = JSON.parse(await run("export", "real", "-o", "-")) as Line[];
  assert.deepEqual(
    json,
    linesOf(one).map(({ vectors: _, ...line }) => line),
  );
  assert.deepEqual((await readdir(folder)).sort(), ["one.ndjson", "texts.ndjson", "two.ndjson.gz"]);
});

test("a download that was broken off goes on; what belongs to another file is left alone", async (t) => {
  const { system, client } = await start(t);
  const folder = await tempDir(t);
  const libraryId = await filled(client, "partial", 3_000);
  const job = await done(client, await client.exportLibrary(libraryId, NDJSON));
  const whole = await fileOf(client, job);
  const sha256 = createHash("sha256").update(whole).digest("hex");
  const output = join(folder, "file.ndjson");
  const part = `${output}.${sha256.slice(0, 12)}.part`;
  await writeFile(part, whole.subarray(0, 1_000_001));
  const { code, stderr } = await arrw(system.address, ["jobs", "download", job.jobId, "-o", output]);
  assert.equal(code, 0, stderr);
  assert.ok((await readFile(output)).equals(whole));
  await writeFile(part, Buffer.alloc(1_000));
  const damaged = await arrw(system.address, ["jobs", "download", job.jobId, "-o", output]);
  assert.equal(damaged.code, 1);
  assert.match(damaged.stderr, /sha256 differs/);
  assert.deepEqual(await readdir(folder), ["file.ndjson"]);

  const rest: Uint8Array[] = [];
  for await (const { data, offset, totalBytes } of client.downloadExport(job.jobId, { offset: 777_777 })) {
    assert.equal(offset, 777_777 + rest.reduce((sum, { length }) => sum + length, 0));
    assert.equal(totalBytes, whole.length);
    rest.push(data);
  }
  assert.ok(Buffer.concat(rest).equals(whole.subarray(777_777)));
  const read = async (offset: number): Promise<number> => {
    let pieces = 0;
    for await (const { data } of client.downloadExport(job.jobId, { offset })) pieces += data.length + 1;
    return pieces;
  };
  assert.equal(await read(whole.length), 1);
  await assert.rejects(read(whole.length + 1), { code: "OUT_OF_RANGE" });
  await assert.rejects(read(-1), { code: "INVALID_ARGUMENT" });
});

test("kills of the worker and the index in the midst of exports leave the files as they were pinned", async (t) => {
  const { system, client } = await start(t);
  const count = 15_000;
  const libraryId = await filled(client, "killed", count);
  const plain = await client.exportLibrary(libraryId, NDJSON);
  const packed = await client.exportLibrary(libraryId, { ...NDJSON, gzip: true });
  await underWay(client, plain.jobId);
  await underWay(client, packed.jobId);
  const writes = client.importDocuments(libraryId, documents(0, count + 100, "second"));
  for (const name of ["worker", "index", "worker"]) {
    const { progress } = await client.get(packed.jobId);
    process.kill(system.pid(name) ?? 0, "SIGKILL");
    const goesOn = async (): Promise<boolean> => {
      const job = await client.get(packed.jobId);
      return job.completedAt !== undefined || (job.progress?.current ?? 0n) > (progress?.current ?? 0n);
    };
    await eventually(goesOn, {
      timeoutMs: 60_000,
      what: `the exports to go on after the ${name} was killed`,
    });
  }
  for (const { jobId } of [plain, packed]) {
    const job = await done(client, await client.get(jobId));
    t.diagnostic(`losses ${job.losses}, attempts ${job.attempts.length}`);
    assert.ok(job.losses > 0);
    const file = await fileOf(client, job);
    assertFirst(linesOf(jobId === packed.jobId ? gunzipSync(file) : file), count);
  }
  await done(client, await writes);
});

test("a cancelled export stops at once; an expired one is said to be so", async (t) => {
  const { client } = await start(t, { ARRW_EXPORT_RETENTION_MS: "1000" });
  const libraryId = await filled(client, "over", 20_000);
  const { jobId } = await client.exportLibrary(libraryId, NDJSON);
  await underWay(client, jobId);
  const ended = client.wait(jobId);
  const asked = performance.now();
  await client.cancel(jobId);
  assert.equal((await ended).status, JobStatus.JOB_STATUS_CANCELLED);
  const tookMs = performance.now() - asked;
  t.diagnostic(`cancelled after ${Math.round(tookMs)} ms`);
  assert.ok(tookMs < 1_000, `${tookMs} ms`);
  const first = (id: string) => client.downloadExport(id).next();
  await assert.rejects(first(jobId), { code: "FAILED_PRECONDITION", reason: "EXPORT_NOT_COMPLETED" });

  const small = await filled(client, "small", 10);
  const job = await done(client, await client.exportLibrary(small));
  assert.equal((JSON.parse((await fileOf(client, job)).toString()) as Line[]).length, 10);
  await eventually(
    async () => {
      try {
        await first(job.jobId);
        return false;
      } catch (error) {
        return (error as { reason?: string }).reason === "EXPORT_EXPIRED";
      }
    },
    { timeoutMs: 10_000, what: "the export to expire" },
  );
  const { jobId: echo } = await client.submit({ spec: { spec: { $case: "echo", value: {} } } });
  await assert.rejects(first(echo), { code: "FAILED_PRECONDITION", reason: "NO_EXPORT" });
});

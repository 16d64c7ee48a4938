import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Document, Filter, Vector } from "../../../proto/gen/arrwdb/v1/document.ts";
import { JobFilter, SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { type Doors, type Json, METHODS, type Method, startDoors } from "../../support/doors.ts";
import { eventually } from "../../support/eventually.ts";

/**
 * Every method of the API through both doors of one system: the answers are the same but for their shape. Where a call
 * changes something, each door has a thing of its own to change, and what differs for that reason is left out.
 */

type Http = readonly [method: string, path: string, body?: unknown];

interface Row {
  readonly grpc: (doors: Doors) => Promise<Json>;
  readonly http: (doors: Doors) => Promise<Json>;
  /** The answer over gRPC as HTTP shows it. */
  readonly shape?: (answer: Json) => Json;
}

const runs: (() => Promise<void> | void)[] = [];
let doors: Doors;
/** Jobs that have completed, and a worker that no test drains. */
const ids = { imported: "", exported: "", deleted: "", worker: "" };

before(async () => {
  doors = await startDoors({ after: (run) => void runs.push(run) });
  for (const library of ["docs", "spare-grpc", "spare-http"]) await createLibrary(library);
  ids.imported = await completed("batch-import", {
    library_id: "docs",
    documents: [
      {
        document_id: "a/b ü",
        title: "One",
        texts: ["the quick fox", "jumps"],
        tags: ["x"],
        metadata: { n: 1.5, deep: [null, "s"] },
      },
      { document_id: "two", texts: ["lazy dogs"], author: "me", source_url: "http://x" },
      { document_id: "spare-grpc", texts: ["to be deleted"] },
      { document_id: "spare-http", texts: ["to be deleted"] },
      { document_id: "bad", texts: ["x"], vectors: [Array(64).fill(0.25)] },
    ],
  });
  ids.exported = await completed("batch-export", {
    library_id: "docs",
    format: "ndjson",
    include_embeddings: true,
  });
  ids.worker = (await doors.send("GET", "/v1/workers")).json.workers[0].worker_id;
});

after(async () => {
  for (const run of runs.reverse()) await run();
});

async function createLibrary(library_id: string): Promise<void> {
  const body = { library_id, embedding: { provider: "hashing", dimensions: 64 } };
  assert.equal((await doors.send("POST", "/v1/libraries", body)).status, 201);
}

async function completed(type: string, body: object): Promise<string> {
  const { json } = await doors.send("POST", `/v1/jobs/${type}`, body);
  return eventually(async () => {
    const job = (await doors.send("GET", `/v1/jobs/${json.job_id}`)).json;
    return job.status === "completed" && json.job_id;
  });
}

/** A job that waits for its time. */
async function waiting(): Promise<string> {
  const { json } = await doors.send("POST", "/v1/jobs/echo", { run_at: "2090-01-01T00:00:00Z" });
  return json.job_id;
}

async function cancelled(): Promise<string> {
  const id = await waiting();
  assert.equal((await doors.send("DELETE", `/v1/jobs/${id}`)).status, 200);
  return id;
}

const one =
  (method: Method, fields: () => object | Promise<object>) =>
  async (through: Doors): Promise<Json> =>
    (await through.grpc(method, await fields()))[0];
const http =
  (call: () => Http | Promise<Http>) =>
  async (through: Doors): Promise<Json> => {
    const { status, json, text } = await through.send(...(await call()));
    assert.ok(status >= 200 && status < 300, `${status} ${text}`);
    return json;
  };
const library = ({ library: found }: Json): Json => found;
const nothing = (): undefined => undefined;
const queue = ({ queue: found }: Json): Json => found;
const jobOf = ({ job }: Json): Json => view(job);

/** Written down by hand from the description of the HTTP API. */
function view(job: Json): Json {
  const { type, status, error, spec, result, progress, library_id, ...others } = job;
  const pending = ["pending", "scheduled", "blocked"].includes(status);
  return {
    ...others,
    job_type: type,
    status: pending ? "pending" : status,
    state: status,
    error: error?.message ?? null,
    error_details: error,
    library_id: library_id || null,
    spec: Object.values(spec)[0],
    result: result && Object.values(result)[0],
    progress: progress ?? { current: 0, total: 0, message: "", percentage: 0 },
  };
}

function submitted(message: string): () => Json {
  return () => ({ status: "pending", message });
}

const echo = { spec: { $case: "echo" as const, value: { message: "hi" } } };
const doc = Document.fromPartial({ documentId: "new", texts: ["text"], vectors: [] });
const docFilter = Filter.fromPartial({ all: [{ field: "author", test: { $case: "equals", value: "me" } }] });
const label = (name: string) => JobFilter.fromPartial({ labels: { test: name } });

async function labelled(name: string, end: boolean): Promise<void> {
  for (let n = 0; n < 3; n++) {
    const body = { labels: { test: name }, run_at: "2090-01-01T00:00:00Z" };
    const { json } = await doors.send("POST", "/v1/jobs/echo", body);
    if (end) await doors.send("DELETE", `/v1/jobs/${json.job_id}`);
  }
}

const bulk = (verb: "cancel" | "retry" | "delete", end: boolean): Row => ({
  grpc: async (through) => {
    await labelled(`${verb}-grpc`, end);
    return (await through.grpc(`${verb}Jobs`, { filter: label(`${verb}-grpc`), limit: 2 }))[0];
  },
  http: async (through) => {
    await labelled(`${verb}-http`, end);
    const filter = { labels: { test: `${verb}-http` }, statuses: ["pending", "cancelled"] };
    return (await through.send("POST", `/v1/jobs/${verb}`, { filter, limit: 2 })).json;
  },
});

const TABLE: Readonly<Record<Method, Row>> = {
  submitJob: {
    grpc: one("submitJob", () => ({
      ...SubmitJobRequest.fromPartial({
        libraryId: "docs",
        spec: { spec: { $case: "batchImport", value: { documents: [doc] } } },
      }),
    })),
    http: http(() => [
      "POST",
      "/v1/jobs/batch-import",
      { library_id: "docs", documents: [{ document_id: "new", texts: ["text"] }] },
    ]),
    shape: submitted("Batch import job submitted (1 document)"),
  },
  submitJobs: {
    grpc: one("submitJobs", () => ({
      requests: [
        SubmitJobRequest.fromPartial({ spec: echo }),
        SubmitJobRequest.fromPartial({ spec: { spec: { $case: "indexRebuild", value: { minRecall: 2 } } } }),
      ],
    })),
    http: http(() => [
      "POST",
      "/v1/jobs",
      {
        jobs: [
          { job_type: "echo", message: "hi" },
          { job_type: "index_rebuild", min_recall: 2 },
        ],
      },
    ]),
    shape: ({ results: [made, { error }] }) => {
      assert.equal(made.job.type, "echo");
      const fields = error.violations.map(({ field, description }: Json) => ({
        field: unprefixed(field),
        description,
      }));
      assert.equal(error.code, 3);
      const message = fields.map(({ field, description }: Json) => `${field}: ${description}`).join("; ");
      const failed = { code: "INVALID_ARGUMENT", message, fields, reason: "INVALID_ARGUMENT" };
      return { results: [submitted("Echo job submitted")(), { error: failed }] };
    },
  },
  importDocuments: {
    grpc: one("importDocuments", () => [
      { message: { $case: "header", value: SubmitJobRequest.fromPartial({ libraryId: "docs" }) } },
      { message: { $case: "document", value: doc } },
      { message: { $case: "document", value: doc } },
    ]),
    http: async (through) => {
      const line = JSON.stringify({ document_id: "new", texts: ["text"] });
      const type = { "content-type": "application/x-ndjson" };
      return (await through.send("POST", "/v1/libraries/docs/documents/stream", `${line}\n${line}\n`, type))
        .json;
    },
    shape: submitted("Batch import job submitted (2 documents)"),
  },
  getJob: {
    grpc: one("getJob", () => ({ jobId: ids.imported })),
    http: http(() => ["GET", `/v1/jobs/${ids.imported}`]),
    shape: ({ job, stale_sequence }) => ({ ...view(job), stale_sequence }),
  },
  listJobs: {
    grpc: one("listJobs", () => ({
      filter: JobFilter.fromPartial({
        types: ["batch_import", "batch_export"],
        statuses: [5],
        libraryId: "docs",
      }),
      pageSize: 1,
    })),
    http: http(() => [
      "GET",
      "/v1/jobs?status=completed&type=batch_import,batch_export&library_id=docs&limit=1",
    ]),
    shape: ({ jobs, total_size, ...others }) => ({ ...others, jobs: jobs.map(view), total: total_size }),
  },
  cancelJob: {
    grpc: one("cancelJob", async () => ({ jobId: await waiting() })),
    http: http(async () => ["DELETE", `/v1/jobs/${await waiting()}`]),
    shape: jobOf,
  },
  watchJob: {
    grpc: (through) => through.grpc("watchJob", { jobId: ids.exported }, 1),
    http: async (through) =>
      (await through.events(`/v1/jobs/${ids.exported}/events`, 1)).map(({ data }) => data),
    shape: (messages) => messages.map(jobOf),
  },
  getQueueStats: {
    grpc: one("getQueueStats", () => ({})),
    http: http(() => ["GET", "/v1/queues"]),
  },
  watchJobs: {
    grpc: (through) =>
      through.grpc(
        "watchJobs",
        { afterCursor: "MTox", filter: JobFilter.fromPartial({ types: ["batch_export"] }) },
        2,
      ),
    http: async (through) =>
      (await through.events("/v1/events?type=batch_export&after_cursor=MTox", 2)).map(({ data }) => data),
    shape: (messages) => messages.map((message: Json) => ({ ...message, job: view(message.job) })),
  },
  retryJob: {
    grpc: async (through) => {
      // Nothing starts between the two looks at it.
      await through.send("POST", "/v1/queues/echo/pause");
      return (await through.grpc("retryJob", { jobId: await cancelled() }))[0];
    },
    http: async (through) => {
      const { json } = await through.send("POST", `/v1/jobs/${await cancelled()}/retry`);
      await through.send("POST", "/v1/queues/echo/resume");
      return json;
    },
    shape: jobOf,
  },
  deleteJob: {
    grpc: one("deleteJob", async () => ({ jobId: await cancelled() })),
    http: http(async () => ["DELETE", `/v1/jobs/${await cancelled()}?purge=true`]),
    shape: nothing,
  },
  cancelJobs: bulk("cancel", false),
  retryJobs: bulk("retry", true),
  deleteJobs: bulk("delete", true),
  getJobLogs: {
    grpc: (through) => through.grpc("getJobLogs", { jobId: ids.imported }),
    http: http(() => ["GET", `/v1/jobs/${ids.imported}/logs`]),
    shape: (lines) => ({ lines }),
  },
  listJobItems: {
    grpc: one("listJobItems", () => ({ jobId: ids.imported, pageSize: 2 })),
    http: http(() => ["GET", `/v1/jobs/${ids.imported}/items?page_size=2`]),
  },
  downloadExport: {
    grpc: async (through) => {
      const pieces = await through.grpc("downloadExport", { jobId: ids.exported });
      return Buffer.concat(pieces.map(({ data }) => Buffer.from(data, "base64"))).toString();
    },
    http: async (through) => (await through.send("GET", `/v1/jobs/${ids.exported}/export`)).text,
  },

  createLibrary: {
    grpc: one("createLibrary", () => ({ libraryId: "made-grpc", indexType: "flat" })),
    http: http(() => ["POST", "/v1/libraries", { library_id: "made-http", index_type: "flat" }]),
    shape: library,
  },
  getLibrary: {
    grpc: one("getLibrary", () => ({ libraryId: "docs" })),
    http: http(() => ["GET", "/v1/libraries/docs"]),
    shape: library,
  },
  listLibraries: {
    grpc: one("listLibraries", () => ({ pageSize: 1 })),
    http: http(() => ["GET", "/v1/libraries?page_size=1"]),
  },
  deleteLibrary: {
    grpc: one("deleteLibrary", () => ({ libraryId: "spare-grpc" })),
    http: http(() => ["DELETE", "/v1/libraries/spare-http"]),
    shape: nothing,
  },
  getDocument: {
    grpc: one("getDocument", () => ({ libraryId: "docs", documentId: "a/b ü", includeVectors: true })),
    http: http(() => [
      "GET",
      `/v1/libraries/docs/documents/${encodeURIComponent("a/b ü")}?include_vectors=true`,
    ]),
    shape: ({ document }) => document,
  },
  listDocuments: {
    grpc: one("listDocuments", () => ({ libraryId: "docs", filter: docFilter, includeTexts: true })),
    http: http(() => [
      "POST",
      "/v1/libraries/docs/documents/list",
      { filter: { all: [{ field: "author", equals: "me" }] }, include_texts: true },
    ]),
  },
  deleteDocument: {
    grpc: one("deleteDocument", () => ({ libraryId: "docs", documentId: "spare-grpc" })),
    http: http(() => ["DELETE", "/v1/libraries/docs/documents/spare-http"]),
    shape: nothing,
  },
  search: {
    grpc: one("search", () => ({
      libraryId: "docs",
      query: { $case: "vector", value: Vector.fromPartial({ values: Array(64).fill(0.5) }) },
      k: 10,
      includeText: true,
      exact: true,
    })),
    http: http(() => [
      "POST",
      "/v1/libraries/docs/search",
      { vector: Array(64).fill(0.5), include_text: true, exact: true },
    ]),
  },
  watchLibrary: {
    grpc: async (through) => {
      const [first] = await through.grpc("watchLibrary", { libraryId: "docs" }, 1);
      await doors.send("DELETE", "/v1/libraries/docs/documents/bad");
      return (await through.grpc("watchLibrary", { libraryId: "docs", afterCursor: first.cursor }, 1)).map(
        ({ event, document_id }) => ({ event, document_id }),
      );
    },
    http: async (through) => {
      const [first] = await through.grpc("watchLibrary", { libraryId: "docs" }, 1);
      await completed("batch-import", {
        library_id: "docs",
        documents: [{ document_id: "bad", texts: ["x"] }],
      });
      await doors.send("DELETE", "/v1/libraries/docs/documents/bad");
      const events = await through.events(`/v1/libraries/docs/events?after_cursor=${first.cursor}`, 2);
      assert.deepEqual(
        events.map(({ event }) => event),
        ["document.upserted", "document.deleted"],
      );
      return events.slice(1).map(({ data: { event, document_id } }) => ({ event, document_id }));
    },
  },
  rollbackGeneration: {
    grpc: async (through) => {
      await completed("index-rebuild", { library_id: "docs", index_type: "flat" });
      return (await through.grpc("rollbackGeneration", { libraryId: "docs" }))[0];
    },
    http: async (through) => {
      await completed("index-rebuild", { library_id: "docs", index_type: "flat" });
      return (await through.send("POST", "/v1/libraries/docs/rollback")).json;
    },
    shape: library,
  },

  pauseQueue: {
    grpc: one("pauseQueue", () => ({ type: "echo" })),
    http: http(() => ["POST", "/v1/queues/echo/pause"]),
    shape: queue,
  },
  resumeQueue: {
    grpc: one("resumeQueue", () => ({ type: "echo" })),
    http: http(() => ["POST", "/v1/queues/echo/resume"]),
    shape: queue,
  },
  setQueueLimit: {
    grpc: one("setQueueLimit", () => ({ type: "echo", maxRunning: 7 })),
    http: http(() => ["PUT", "/v1/queues/echo/limit", { max_running: 7 }]),
    shape: queue,
  },
  listWorkers: {
    grpc: one("listWorkers", () => ({})),
    http: http(() => ["GET", "/v1/workers"]),
  },
  drainWorker: {
    grpc: one("drainWorker", () => ({ workerId: ids.worker })),
    http: http(() => ["POST", `/v1/workers/${ids.worker}/drain`]),
    shape: ({ worker }) => worker,
  },
};

/** What differs between two things that were made alike, or two reads one after the other. */
const VARIES = new Set([
  "job_id",
  "created_at",
  "completed_at",
  "started_at",
  "run_at",
  "heard_at",
  "previous_generation_expires_at",
  "page_token",
  "library_id",
  "name",
  "generation",
  "previous_generation",
  "disk_bytes",
  "memory_bytes",
  "oldest_pending_age",
]);
/** Both doors read the same thing: nothing may differ. */
const SAME: ReadonlySet<Method> = new Set([
  "getJob",
  "watchJob",
  "getDocument",
  "search",
  "listJobItems",
  "downloadExport",
  "getJobLogs",
  "getLibrary",
]);

function comparable(value: Json, all: boolean): Json {
  if (Array.isArray(value)) return value.map((each) => comparable(each, all));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([name]) => all || !VARIES.has(name));
  return Object.fromEntries(entries.map(([name, each]) => [name, comparable(each, all)]));
}

for (const [name, { grpc, http: over, shape = (answer: Json) => answer }] of Object.entries(TABLE)) {
  test(`${name} answers the same through both doors`, { timeout: 60_000 }, async () => {
    const all = SAME.has(name as Method);
    const expected = comparable(shape(await grpc(doors)), all);
    assert.deepEqual(comparable(await over(doors), all), expected);
  });
}

test("every method is in the table", () => {
  assert.deepEqual(Object.keys(TABLE).sort(), Object.keys(METHODS).sort());
});

function unprefixed(path: string): string {
  return path.replace(/^spec\.[a-z_]+\./, "");
}

const FAILURES: Readonly<
  Record<string, { readonly grpc: readonly [Method, object]; readonly http: Http; readonly status: number }>
> = {
  "a job that is not there": {
    grpc: ["getJob", { jobId: "nope" }],
    http: ["GET", "/v1/jobs/nope"],
    status: 404,
  },
  "a library that is not there": {
    grpc: ["search", { libraryId: "nope", query: { $case: "text", value: "x" }, k: 1 }],
    http: ["POST", "/v1/libraries/nope/search", { text: "x", k: 1 }],
    status: 404,
  },
  "a document that is not there": {
    grpc: ["getDocument", { libraryId: "docs", documentId: "x/y" }],
    http: ["GET", "/v1/libraries/docs/documents/x%2Fy"],
    status: 404,
  },
  "a name that is taken": {
    grpc: ["createLibrary", { libraryId: "docs", indexType: "flat" }],
    http: ["POST", "/v1/libraries", { library_id: "docs", index_type: "flat" }],
    status: 409,
  },
  "nothing to go back to": {
    grpc: ["rollbackGeneration", { libraryId: "made-http" }],
    http: ["POST", "/v1/libraries/made-http/rollback"],
    status: 409,
  },
  "values out of bounds": {
    grpc: [
      "submitJob",
      SubmitJobRequest.fromPartial({
        libraryId: "docs",
        maxRetries: 101,
        labels: { "": "x" },
        spec: {
          spec: {
            $case: "batchImport",
            value: {
              chunkSize: -1,
              documents: [Document.fromPartial({ texts: ["", "x"], tags: [""] }), Document.fromPartial({})],
            },
          },
        },
      }),
    ],
    http: [
      "POST",
      "/v1/jobs/batch-import",
      {
        library_id: "docs",
        max_retries: 101,
        labels: { "": "x" },
        chunk_size: -1,
        documents: [{ texts: ["", "x"], tags: [""] }, {}],
      },
    ],
    status: 400,
  },
  "a page of a list": {
    grpc: ["listJobs", { pageSize: -1, pageToken: "x" }],
    http: ["GET", "/v1/jobs?limit=-1&page_token=x"],
    status: 400,
  },
  "a search": {
    grpc: [
      "search",
      { libraryId: "docs", query: { $case: "vector", value: Vector.fromPartial({ values: [1, 2] }) }, k: 0 },
    ],
    http: ["POST", "/v1/libraries/docs/search", { vector: [1, 2], k: 0 }],
    status: 400,
  },
  "an empty filter": {
    grpc: ["cancelJobs", { limit: -1 }],
    http: ["POST", "/v1/jobs/cancel", { limit: -1 }],
    status: 400,
  },
  "an unknown queue": {
    grpc: ["pauseQueue", { type: "nope" }],
    http: ["POST", "/v1/queues/nope/pause"],
    status: 400,
  },
  "a worker that is not there": {
    grpc: ["drainWorker", { workerId: "nope" }],
    http: ["POST", "/v1/workers/nope/drain"],
    status: 404,
  },
};

for (const [what, { grpc, http: call, status }] of Object.entries(FAILURES)) {
  test(`${what}: the same error through both doors`, { timeout: 30_000 }, async () => {
    const expected = await doors.grpcError(...grpc);
    const answer = await doors.send(...call);
    const { code, message, fields, reason } = answer.json.error;
    assert.equal(answer.status, status);
    assert.equal(code, expected.code);
    assert.equal(reason, expected.reason);
    const names: Readonly<Record<string, string>> = { page_size: "limit" };
    const shown = expected.violations.map(({ field, description }) => ({
      field: names[field] ?? unprefixed(field),
      description,
    }));
    assert.deepEqual(fields, shown);
    if (shown.length === 0) assert.equal(message, expected.message);
  });
}

test("a job that has ended can't be cancelled by DELETE, nor one be purged that has not", async () => {
  const gone = await doors.send("DELETE", `/v1/jobs/${ids.imported}`);
  assert.equal(gone.status, 409);
  assert.equal(gone.json.error.reason, "JOB_TERMINAL");
  assert.equal((await doors.send("DELETE", `/v1/jobs/${await cancelled()}`)).status, 409);
  assert.equal((await doors.send("DELETE", `/v1/jobs/${await waiting()}?purge=true`)).status, 409);
});

test("the counts of the queue are exactly these", async () => {
  const { json } = await doors.send("GET", "/v1/jobs/stats/queue");
  const [stats] = await doors.grpc("getQueueStats", {});
  assert.deepEqual(json, {
    total_jobs: stats.total_jobs,
    completed_jobs: stats.completed_jobs,
    failed_jobs: stats.failed_jobs,
    pending_jobs: stats.pending_jobs + stats.scheduled_jobs + stats.blocked_jobs,
    running_jobs: stats.running_jobs,
    queue_size: stats.queue_size,
    num_workers: stats.slots,
    running: true,
  });
});

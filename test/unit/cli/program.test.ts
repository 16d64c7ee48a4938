import assert from "node:assert/strict";
import { test } from "node:test";
import type { Command } from "commander";
import { candidates, type DynamicValues, JOB_TYPES } from "../../../cli/completion.ts";
import { EXIT, EXIT_MEANINGS, exitCodeOf } from "../../../cli/failure.ts";
import { createProgram } from "../../../cli/program.ts";
import { optionOf, reportLines } from "../../../cli/report.ts";
import { hostAndPort } from "../../../cli/unreachable.ts";
import { ArrwClient, ClientError, QueueCalls } from "../../../client/index.ts";
import { JobServiceService, JobSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { LibraryServiceService } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { QueueServiceService } from "../../../proto/gen/arrwdb/v1/queues.ts";

/** What the API can do: by which method of the client, and by which command. */
const RPCS: Readonly<Record<string, readonly [method: string, command: string]>> = {
  submitJob: ["submit", "jobs submit"],
  submitJobs: ["submitAll", "jobs submit"],
  importDocuments: ["importDocuments", "import"],
  getJob: ["get", "jobs get"],
  listJobs: ["list", "jobs list"],
  cancelJob: ["cancel", "jobs cancel"],
  watchJob: ["watch", "jobs watch"],
  getQueueStats: ["stats", "stats"],
  watchJobs: ["watchJobs", "jobs watch"],
  retryJob: ["retry", "jobs retry"],
  deleteJob: ["delete", "jobs delete"],
  cancelJobs: ["cancelJobs", "jobs cancel"],
  retryJobs: ["retryJobs", "jobs retry"],
  deleteJobs: ["deleteJobs", "jobs delete"],
  getJobLogs: ["jobLogs", "jobs logs"],
  listJobItems: ["jobItems", "jobs items"],
  downloadExport: ["downloadExport", "jobs download"],
  createLibrary: ["createLibrary", "library create"],
  getLibrary: ["getLibrary", "library get"],
  listLibraries: ["listLibraries", "library list"],
  deleteLibrary: ["deleteLibrary", "library delete"],
  getDocument: ["getDocument", "document get"],
  listDocuments: ["listDocuments", "document list"],
  deleteDocument: ["deleteDocument", "document delete"],
  search: ["search", "search"],
  watchLibrary: ["watchLibrary", "library watch"],
  rollbackGeneration: ["rollbackGeneration", "index rollback"],
  pauseQueue: ["pause", "queue pause"],
  resumeQueue: ["resume", "queue resume"],
  setQueueLimit: ["setLimit", "queue limit"],
  listWorkers: ["workers", "workers list"],
  drainWorker: ["drain", "workers drain"],
};

function find(path: string): Command {
  let command = createProgram().program;
  for (const name of path.split(" ")) {
    const next = command.commands.find((each) => each.name() === name);
    assert.ok(next, `there is no command ${path}`);
    command = next;
  }
  return command;
}

test("whatever the API can do, the client and a command can", () => {
  const methods = [JobServiceService, LibraryServiceService, QueueServiceService].flatMap(Object.keys);
  assert.deepEqual(Object.keys(RPCS).sort(), methods.sort());
  for (const [rpc, [method, path]] of Object.entries(RPCS)) {
    const owner = rpc in QueueServiceService ? QueueCalls.prototype : ArrwClient.prototype;
    assert.equal(
      typeof (owner as unknown as Record<string, unknown>)[method],
      "function",
      `${rpc}: ${method}`,
    );
    assert.ok(find(path));
  }
});

test("every command has a description, and those that ask the gateway say how to reach it", () => {
  const walk = (command: Command, path: string): void => {
    assert.notEqual(command.description(), "", path);
    for (const each of command.commands) {
      if (!each.name().startsWith("__")) walk(each, `${path} ${each.name()}`);
    }
    const local = /^arrw( up| demo| keys.*| completion| exit-codes)$/.test(path);
    if (command.commands.length > 0 || local) return;
    const longs = command.options.map(({ long }) => long);
    for (const long of ["--address", "--api-key-file", "--tls-ca", "--timeout", "--json", "--no-color"]) {
      assert.ok(longs.includes(long), `${path} ${long}`);
    }
  };
  walk(createProgram().program, "arrw");
});

test("exit codes: each is described once, and errors have those of their kind", () => {
  assert.deepEqual(
    EXIT_MEANINGS.map(([code]) => code),
    Object.values(EXIT),
  );
  const codes = (
    [
      "INVALID_ARGUMENT",
      "UNAVAILABLE",
      "RESOURCE_EXHAUSTED",
      "NOT_FOUND",
      "UNAUTHENTICATED",
      "ABORTED",
    ] as const
  ).map((code) => exitCodeOf({ code }));
  assert.deepEqual(codes, [2, 3, 3, 4, 5, 1]);
});

test("fields of a request are named as the command's options", () => {
  const named = (path: string, field: string) => optionOf(field, find(path));
  assert.equal(named("import", "spec.batch_import.chunk_size"), "--chunk-size");
  assert.equal(named("import", "retry_policy.backoff_initial"), "--backoff-initial");
  assert.equal(named("import", "labels[a b]"), "--label");
  assert.equal(named("library create", "embedding.dimensions"), "--dimensions");
  assert.equal(named("index rebuild", "spec.index_rebuild.index_type"), "--type");
  assert.equal(named("document list", "filter.all[3].field"), "--filter");
  assert.equal(named("search", "library_id"), "<library>");
  assert.equal(named("search", "k"), "-k");
  assert.equal(named("jobs get", "some.other"), undefined);
});

test("an error is a line for people, or an object for programs", () => {
  const error = new ClientError("INVALID_ARGUMENT", "invalid", {
    violations: [
      { field: "k", description: "1..10,000; got 0" },
      { field: "x\u001b[2J", description: "no\nsuch" },
    ],
  });
  const command = find("search");
  assert.deepEqual(reportLines(error, { json: false, command }), [
    "error: invalid request",
    "  -k: 1..10,000; got 0",
    "  x [2J: no such",
  ]);
  const [line = ""] = reportLines(error, { json: true, command });
  assert.deepEqual(JSON.parse(line).error.fields[0], {
    field: "k",
    description: "1..10,000; got 0",
    option: "-k",
  });
  assert.deepEqual(reportLines(new Error("odd"), { json: false, command }), ["error: odd"]);
  assert.equal(JSON.parse(reportLines("odd", { json: true, command })[0] ?? "").error.exit_code, 1);
});

test("addresses are host:port", () => {
  assert.deepEqual(hostAndPort("[::1]:50051"), { host: "::1", port: 50_051 });
  assert.deepEqual(hostAndPort("gateway.example:1"), { host: "gateway.example", port: 1 });
  for (const wrong of ["localhost", "http://a:1", "a:b", "a:65536", ""])
    assert.equal(hostAndPort(wrong), undefined);
});

const GATEWAY: DynamicValues = {
  of: async (kind) => [
    { value: `${kind}-1`, description: "first" },
    { value: `${kind}-2`, description: "second" },
  ],
};

async function completed(...words: string[]): Promise<string[]> {
  const found = await candidates(createProgram().program, words, GATEWAY);
  return found.map(({ value }) => value);
}

test("completion: commands, options, their values, and what the gateway has", async () => {
  assert.ok((await completed("")).includes("import"));
  assert.ok(!(await completed("")).some((name) => name.startsWith("__")));
  assert.deepEqual(await completed("jobs", "wa"), ["watch"]);
  assert.deepEqual(await completed("--json", "jobs", "wa"), ["watch"]);
  assert.deepEqual(await completed("jobs", "list", "--stat"), ["--status"]);
  assert.deepEqual(await completed("jobs", "list", "--status", "c"), ["completed", "cancelled"]);
  assert.deepEqual(await completed("jobs", "list", "--status", "failed,comp"), ["failed,completed"]);
  assert.deepEqual(await completed("jobs", "list", "--status=r"), ["--status=running"]);
  assert.deepEqual(await completed("index", "rebuild", "docs", "--type", ""), ["hnsw", "flat"]);
  assert.deepEqual(await completed("jobs", "list", "--type", "ech"), ["echo"]);
  assert.deepEqual(await completed("search", ""), ["library-1", "library-2"]);
  assert.deepEqual(await completed("jobs", "list", "--library", "library-2"), ["library-2"]);
  assert.deepEqual(await completed("jobs", "watch", "job-1", "job-"), ["job-1", "job-2"]);
  assert.deepEqual(await completed("workers", "drain", ""), ["worker-1", "worker-2"]);
  // A file: the shell knows better.
  assert.deepEqual(await completed("import", "docs", ""), []);
  assert.deepEqual(await completed("export", "docs", "-o", "a"), []);
});

test("completion knows the job types of the contract", () => {
  const empty = JobSpec.fromPartial({});
  assert.equal(empty.spec, undefined);
  for (const type of JOB_TYPES) {
    const $case = type.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
    const spec = { spec: { $case, value: {} } } as Parameters<typeof JobSpec.fromPartial>[0];
    assert.notEqual(JobSpec.encode(JobSpec.fromPartial(spec)).finish().length, 0, type);
  }
});

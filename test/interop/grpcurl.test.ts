import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { type Ran, run, succeed } from "./command.ts";
import { goToolsFolder, grpcAddress, secured } from "./target.ts";

const SERVICES = ["arrwdb.v1.JobService", "arrwdb.v1.LibraryService", "arrwdb.v1.QueueService"];

const program = (): string => join(goToolsFolder(), "grpcurl");

/** Calls a method; the answers as grpcurl prints them, one after the other. */
function call(method: string, request: unknown, ...flags: readonly string[]): Promise<string> {
  return succeed(program(), [...flags, "-plaintext", "-d", JSON.stringify(request), grpcAddress(), method]);
}

function refused(method: string, request: unknown): Promise<Ran> {
  return run(program(), [
    "-plaintext",
    "-format-error",
    "-d",
    JSON.stringify(request),
    grpcAddress(),
    method,
  ]);
}

/** Each object of a stream that grpcurl printed. */
function messages(stdout: string): Record<string, Record<string, unknown>>[] {
  return stdout
    .split(/\n(?=\{)/)
    .filter((text) => text.trim() !== "")
    .map((text) => JSON.parse(text));
}

const echo = { spec: { echo: { message: "hello", sleep: "0.2s", steps: 4 } } };

test("list and describe, from the server's own schema", async () => {
  const listed = (await succeed(program(), ["-plaintext", grpcAddress(), "list"])).trim().split("\n");
  for (const service of [...SERVICES, "grpc.health.v1.Health"]) assert.ok(listed.includes(service), service);
  for (const service of listed) {
    const described = await succeed(program(), ["-plaintext", grpcAddress(), "describe", service]);
    assert.match(described, /is a service:/);
  }
  const described = await succeed(program(), [
    "-plaintext",
    grpcAddress(),
    "describe",
    "arrwdb.v1.SubmitJobRequest",
  ]);
  assert.match(described, /\.google\.protobuf\.Timestamp run_at = \d+/);
});

test("a job is submitted and watched to its end over a stream", async () => {
  const [submitted] = messages(await call("arrwdb.v1.JobService/SubmitJob", echo));
  const jobId = submitted?.job?.jobId;
  assert.match(String(jobId), /^[\da-f-]{36}$/);
  const states = messages(await call("arrwdb.v1.JobService/WatchJob", { job_id: jobId }));
  assert.equal(states.at(-1)?.job?.status, "JOB_STATUS_COMPLETED");
  assert.deepEqual(states.at(-1)?.job?.result, { echo: { message: "hello" } });
  const revisions = states.map(({ job }) => Number(job?.revision));
  assert.deepEqual(
    revisions,
    revisions.toSorted((a, b) => a - b),
  );
});

test("a client stream of several messages is one import", async () => {
  await call("arrwdb.v1.LibraryService/CreateLibrary", { library_id: "grpcurl" });
  const requests = [
    { header: { library_id: "grpcurl", request_id: "grpcurl-import" } },
    { document: { document_id: "a", texts: ["Green tea is steeped at 80 degrees."] } },
    {
      document: { document_id: "b", texts: ["Espresso is brewed under pressure."], metadata: { hot: true } },
    },
  ];
  const stream = ["-plaintext", "-d", "@", grpcAddress(), "arrwdb.v1.JobService/ImportDocuments"];
  const input = requests.map((each) => JSON.stringify(each)).join("\n");
  const [answer] = messages(await succeed(program(), stream, { input }));
  assert.equal(answer?.job?.itemCount, "2");
  await call("arrwdb.v1.JobService/WatchJob", { job_id: answer?.job?.jobId });
  const query = { library_id: "grpcurl", text: "how hot for tea", k: 1, include_text: true };
  assert.match(await call("arrwdb.v1.LibraryService/Search", query), /Green tea is steeped/);
  // Well-known types come back as they went.
  const document = { library_id: "grpcurl", document_id: "b" };
  const [found] = messages(await call("arrwdb.v1.LibraryService/GetDocument", document));
  assert.deepEqual(found?.document?.metadata, { hot: true });
});

test("an error's details are decoded by the server's own schema", async () => {
  const { code, stderr } = await refused("arrwdb.v1.JobService/SubmitJob", {
    library_id: "x".repeat(1_000),
    max_retries: -1,
    spec: { echo: {} },
  });
  assert.equal(code, 64 + 3);
  const { details } = JSON.parse(stderr);
  assert.deepEqual(
    details.map((each: Record<string, unknown>) => each["@type"]),
    ["type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.rpc.BadRequest"],
  );
  assert.equal(details[0].reason, "INVALID_ARGUMENT");
  const fields = details[1].fieldViolations.map(({ field }: { field: string }) => field);
  assert.ok(fields.includes("max_retries"), stderr);

  const missing = await refused("arrwdb.v1.JobService/GetJob", { job_id: "nothing" });
  assert.equal(missing.code, 64 + 5);
  const resource = JSON.parse(missing.stderr).details.find((each: Record<string, unknown>) =>
    String(each["@type"]).endsWith("google.rpc.ResourceInfo"),
  );
  assert.equal(resource.resourceName, "nothing");
});

test("an empty request, an unknown field and an unknown method are refused, not crashed on", async () => {
  for (const service of SERVICES) {
    const { code, stderr } = await run(program(), ["-plaintext", grpcAddress(), `${service}/Nothing`]);
    assert.notEqual(code, 0);
    assert.match(stderr, /does not include a method named "Nothing"/);
  }
  assert.match((await refused("arrwdb.v1.JobService/SubmitJob", {})).stderr, /"code": 3/);
  assert.match(await call("grpc.health.v1.Health/Check", {}), /SERVING/);
});

test("a deadline ends a watch, gzip is taken, and headers are seen", async () => {
  const slow = { spec: { echo: { message: "slow", sleep: "60s", steps: 60 } } };
  const [submitted] = messages(await call("arrwdb.v1.JobService/SubmitJob", slow));
  const jobId = submitted?.job?.jobId;
  const args = ["-plaintext", "-max-time", "1", "-d", JSON.stringify({ job_id: jobId }), grpcAddress()];
  const watched = await run(program(), [...args, "arrwdb.v1.JobService/WatchJob"]);
  assert.equal(watched.code, 64 + 4);
  assert.match(watched.stdout, new RegExp(String(jobId)));
  const cancelled = await call("arrwdb.v1.JobService/CancelJob", { job_id: jobId }, "-v");
  assert.match(cancelled, /content-type: application\/grpc/);
  assert.match(cancelled, /"cancelRequested": true|JOB_STATUS_CANCELLED/);
});

test("over TLS and with a key, which reflection wants as well", async () => {
  const { grpc, caFile, key } = secured();
  const authorized = ["-cacert", caFile, "-H", `authorization: Bearer ${key}`];
  assert.match(await succeed(program(), [...authorized, grpc, "list"]), /arrwdb\.v1\.JobService/);
  assert.match(await succeed(program(), [...authorized, grpc, "arrwdb.v1.JobService/GetQueueStats"]), /\{/);
  const keyless = await run(program(), ["-cacert", caFile, grpc, "arrwdb.v1.JobService/GetQueueStats"]);
  assert.match(keyless.stderr, /Unauthenticated|CREDENTIALS_MISSING/);
  const plain = await run(program(), ["-plaintext", "-connect-timeout", "2", grpc, "list"]);
  assert.notEqual(plain.code, 0);
});

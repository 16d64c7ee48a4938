import assert from "node:assert/strict";
import { test } from "node:test";
import { readDelimited } from "../../../platform/delimited.ts";
import { ArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { Job, JobSpec, SubmitJobRequest, SubmitJobsRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway } from "../../support/gateway.ts";

const CALL = { timeoutMs: 5_000 };

function echo(message: string, more: Partial<SubmitJobRequest> = {}): SubmitJobRequest {
  return SubmitJobRequest.fromPartial({ ...more, spec: { spec: { $case: "echo", value: { message } } } });
}

function batchImport(documents: readonly object[], more: Partial<SubmitJobRequest> = {}): SubmitJobRequest {
  const value = { documents: documents.map((document) => Document.fromPartial(document)) };
  return SubmitJobRequest.fromPartial({
    libraryId: "docs",
    ...more,
    spec: JobSpec.fromPartial({ spec: { $case: "batchImport", value } }),
  });
}

async function documentsIn(objects: JetStreamObjects, objectId: string): Promise<Document[]> {
  const documents: Document[] = [];
  for await (const { bytes } of readDelimited(objects.read(objectId, 0), 0))
    documents.push(Document.decode(bytes));
  return documents;
}

test("one job: it reaches the scheduler as it was sent, with an id and a type", async (t) => {
  const { jobs, scheduler } = await startTestGateway(t);
  const request = echo("hello", { labels: { team: "search" }, maxRetries: 0, requestId: "r-1" });
  const { job } = await unary(jobs, jobs.submitJob, request, CALL);
  const [submission] = scheduler.submissions;
  assert.equal(job?.jobId, submission?.jobId);
  assert.match(job?.jobId ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  assert.equal(submission?.type, "echo");
  assert.deepEqual(
    SubmitJobRequest.encode(submission?.request ?? echo("")).finish(),
    SubmitJobRequest.encode(request).finish(),
  );
  assert.equal(submission?.requestDigest.length, 32);
});

test("many jobs: each has its own outcome, in order", async (t) => {
  const { jobs, scheduler, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  const requests = [
    echo("a"),
    echo("b", { maxRetries: -1 }),
    batchImport([{ texts: ["x"] }], { libraryId: "nowhere" }),
    batchImport([{ texts: ["x"] }]),
    SubmitJobRequest.fromPartial({ libraryId: "docs", spec: { spec: { $case: "indexRebuild", value: {} } } }),
    echo("c"),
  ];
  const { results } = await unary(jobs, jobs.submitJobs, SubmitJobsRequest.fromPartial({ requests }), CALL);
  const codes = results.map(({ outcome }) => (outcome?.$case === "error" ? outcome.value.code : "job"));
  assert.deepEqual(codes, ["job", 3, 5, "job", "job", "job"]);
  const refused = results[1]?.outcome;
  assert.ok(refused?.$case === "error");
  assert.equal(refused.value.reason, "INVALID_ARGUMENT");
  const nowhere = results[2]?.outcome;
  assert.equal(nowhere?.$case === "error" && nowhere.value.reason, "LIBRARY_NOT_FOUND");
  assert.deepEqual(refused.value.violations, [
    { field: "max_retries", description: "0..100; got -1", _unknownFields: {} },
  ]);
  assert.deepEqual(
    scheduler.submissions.map(({ type, request }) => [type, request?.libraryId]),
    [
      ["echo", ""],
      ["batch_import", "lib-1"],
      ["index_rebuild", "lib-1"],
      ["echo", ""],
    ],
  );
});

test("a library that many requests name is asked for once", async (t) => {
  const { jobs, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  const requests = Array.from({ length: 200 }, () => echo("x", { libraryId: "docs" }));
  const { results } = await unary(jobs, jobs.submitJobs, SubmitJobsRequest.fromPartial({ requests }), CALL);
  assert.equal(results.length, 200);
  assert.equal(index.asked, 1);
});

test("no requests, or too many, fail the call", async (t) => {
  const { jobs } = await startTestGateway(t);
  const none = unary(jobs, jobs.submitJobs, { requests: [] }, CALL);
  await assert.rejects(none, {
    code: "INVALID_ARGUMENT",
    violations: [{ field: "requests", description: "1..10,000; got 0" }],
  });
  const requests = Array.from({ length: 10_001 }, () => echo("x"));
  await assert.rejects(unary(jobs, jobs.submitJobs, { requests }, { timeoutMs: 20_000 }), {
    code: "INVALID_ARGUMENT",
  });
  const most = await unary(jobs, jobs.submitJobs, { requests: requests.slice(1) }, { timeoutMs: 20_000 });
  assert.equal(most.results.length, 10_000);
});

test("documents of a unary import become the job's payload, and the job has none", async (t) => {
  const { jobs, scheduler, index, nats } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  const documents = [
    { documentId: "a", texts: ["one", "two"], metadata: { year: 2024, tags: ["x", null] } },
    { documentId: "b", texts: ["three"], tags: ["t"] },
  ];
  const { job } = await unary(jobs, jobs.submitJob, batchImport(documents), CALL);
  const [submission] = scheduler.submissions;
  assert.equal(submission?.itemCount, 2n);
  assert.equal(submission?.payloadObject, job?.jobId);
  const spec = submission?.request?.spec?.spec;
  assert.ok(spec?.$case === "batchImport");
  assert.equal(spec.value.documents.length, 0);
  const stored = await documentsIn(new JetStreamObjects(nats), job?.jobId ?? "");
  assert.deepEqual(
    stored,
    documents.map((document) => ({ ...Document.fromPartial(document), _unknownFields: {} })),
  );
});

test("a known request_id answers with its job, and the payload spooled for nothing goes", async (t) => {
  const { jobs, scheduler, index, nats } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  const known = Job.fromPartial({ jobId: "0190-known", type: "batch_import", revision: 7n });
  scheduler.onSubmit = () => ({ outcome: { $case: "job", value: known } });
  const { job } = await unary(
    jobs,
    jobs.submitJob,
    batchImport([{ texts: ["x"] }], { requestId: "r" }),
    CALL,
  );
  assert.equal(job?.jobId, "0190-known");
  const objectId = scheduler.submissions[0]?.payloadObject ?? "";
  await eventually(async () => (await new JetStreamObjects(nats).manifest(objectId)) === undefined);
});

test("the same request has the same digest whatever the order of its maps, another one has another", async (t) => {
  const { jobs, scheduler, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  const one = batchImport([{ texts: ["x"], metadata: { a: 1, b: { c: 1, d: 2 } } }], {
    requestId: "r",
    labels: { k: "1", l: "2" },
  });
  const two = batchImport([{ texts: ["x"], metadata: { b: { d: 2, c: 1 }, a: 1 } }], {
    requestId: "r",
    labels: { l: "2", k: "1" },
  });
  const three = batchImport([{ texts: ["y"], metadata: { a: 1, b: { c: 1, d: 2 } } }], {
    requestId: "r",
    labels: { k: "1", l: "2" },
  });
  for (const request of [one, two, three]) await unary(jobs, jobs.submitJob, request, CALL);
  const digests = scheduler.submissions.map(({ requestDigest }) => requestDigest.toString("hex"));
  assert.equal(digests[0], digests[1]);
  assert.notEqual(digests[0], digests[2]);
});

test("all violations at once, with path, bound and value", async (t) => {
  const { jobs, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "none", 3);
  const request = batchImport(
    [{ texts: [] }, { texts: ["x", ""], vectors: [{ values: [1, 2] }, { values: [1, Number.NaN, 3] }] }],
    { maxRetries: -1 },
  );
  const error = await unary(jobs, jobs.submitJob, request, CALL).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof ArrwError);
  assert.equal(error.code, "INVALID_ARGUMENT");
  assert.deepEqual(
    error.violations.map(({ field }) => field),
    [
      "max_retries",
      "spec.batch_import.documents[0].texts",
      "spec.batch_import.documents[0].vectors",
      "spec.batch_import.documents[1].texts[1]",
      "spec.batch_import.documents[1].vectors[0]",
      "spec.batch_import.documents[1].vectors[1]",
    ],
  );
});

test("a message above 8 MiB says what to use instead", async (t) => {
  const { jobs } = await startTestGateway(t);
  const text = "x".repeat(1_000_000);
  const request = batchImport(Array.from({ length: 9 }, () => ({ texts: [text] })));
  await assert.rejects(unary(jobs, jobs.submitJob, request, CALL), {
    code: "RESOURCE_EXHAUSTED",
    message: /larger than 8388608 bytes.*ImportDocuments.*several calls/,
  });
  const far = batchImport(Array.from({ length: 60 }, () => ({ texts: [text] })));
  await assert.rejects(unary(jobs, jobs.submitJob, far, CALL), {
    code: "RESOURCE_EXHAUSTED",
    reason: "MESSAGE_TOO_LARGE",
  });
});

test("a submit outlives a scheduler that is away for a moment, with the same id", async (t) => {
  const { jobs, scheduler } = await startTestGateway(t);
  const ids: string[] = [];
  scheduler.onSubmit = ({ jobId }) => {
    ids.push(jobId);
    return undefined;
  };
  scheduler.failures.push(
    new ArrwError("UNAVAILABLE", "not leading"),
    new ArrwError("UNAVAILABLE", "not leading"),
  );
  await unary(jobs, jobs.submitJob, echo("x"), CALL);
  assert.equal(ids.length, 1);
  await scheduler.stop();
  const running = unary(jobs, jobs.submitJob, echo("y"), CALL);
  await scheduler.start(t);
  assert.equal((await running).job?.type, "echo");
});

test("a scheduler killed in the midst of a submit gets it again, with the same id", async (t) => {
  const { jobs, scheduler } = await startTestGateway(t);
  const ids: string[] = [];
  let release: () => void = () => undefined;
  scheduler.beforeSubmit = ([submission]) => {
    ids.push(submission?.jobId ?? "");
    return ids.length > 1 ? Promise.resolve() : new Promise((resolve) => (release = resolve));
  };
  const running = unary(jobs, jobs.submitJob, echo("x"), CALL);
  await eventually(() => ids.length === 1);
  await scheduler.crash();
  release();
  await scheduler.start(t);
  const { job } = await running;
  assert.deepEqual(ids, [job?.jobId, job?.jobId]);
});

test("without a scheduler a submit ends with UNAVAILABLE before the client's deadline", async (t) => {
  const { jobs, scheduler } = await startTestGateway(t);
  await scheduler.stop();
  await assert.rejects(unary(jobs, jobs.submitJob, echo("x"), { timeoutMs: 700 }), { code: "UNAVAILABLE" });
});

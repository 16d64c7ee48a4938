import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import type { ClientWritableStream, ServiceError } from "@grpc/grpc-js";
import { readDelimited } from "../../../platform/delimited.ts";
import type { ArrwError } from "../../../platform/errors.ts";
import { fromServiceError } from "../../../platform/grpc/status.ts";
import type { Nats } from "../../../platform/nats/connection.ts";
import { Stream, Subject } from "../../../platform/nats/names.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { type DeepPartial, Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import type { ImportDocumentsRequest, ImportDocumentsResponse } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";

interface Importing {
  readonly stream: ClientWritableStream<ImportDocumentsRequest>;
  readonly reply: Promise<ImportDocumentsResponse>;
}

function startImport({ jobs }: TestGateway): Importing {
  let settle: (error: ServiceError | null, reply: ImportDocumentsResponse) => void = () => undefined;
  const reply = new Promise<ImportDocumentsResponse>((resolve, reject) => {
    settle = (error, value) => (error ? reject(fromServiceError(error)) : resolve(value));
  });
  reply.catch(() => undefined);
  const stream = jobs.importDocuments((error, value) => settle(error, value));
  stream.on("error", () => undefined);
  return { stream, reply };
}

function header(more: Partial<SubmitJobRequest> = {}): ImportDocumentsRequest {
  return {
    message: { $case: "header", value: SubmitJobRequest.fromPartial({ libraryId: "docs", ...more }) },
  };
}

function document(fields: DeepPartial<Document>): ImportDocumentsRequest {
  return { message: { $case: "document", value: Document.fromPartial(fields) } };
}

async function send(stream: Importing["stream"], message: ImportDocumentsRequest): Promise<void> {
  if (!stream.write(message)) await once(stream, "drain");
}

async function objectsIn(nats: Nats): Promise<string[]> {
  return Object.keys(await nats.streamSubjects(Stream.objects, Subject.objects));
}

test("a streamed import: header, documents of any number, one job with their payload", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, index, nats } = gateway;
  index.add("lib-1", "docs", "hashing", 8);
  const { stream, reply } = startImport(gateway);
  await send(stream, header({ labels: { source: "test" } }));
  const text = "lorem ipsum ".repeat(2_000);
  const count = 1_000;
  for (let at = 0; at < count; at++) await send(stream, document({ documentId: `d-${at}`, texts: [text] }));
  stream.end();
  const { job } = await reply;
  const [submission] = scheduler.submissions;
  assert.equal(submission?.type, "batch_import");
  assert.equal(submission?.request?.spec?.spec?.$case, "batchImport");
  assert.equal(submission?.request?.libraryId, "lib-1");
  assert.deepEqual(submission?.request?.labels, { source: "test" });
  assert.equal(submission?.itemCount, BigInt(count));
  assert.ok((submission?.payloadBytes ?? 0n) > BigInt(count * text.length));
  let read = 0;
  const objects = new JetStreamObjects(nats);
  for await (const { bytes } of readDelimited(objects.read(job?.jobId ?? "", 0), 0)) {
    assert.equal(Document.decode(bytes).documentId, `d-${read}`);
    read += 1;
  }
  assert.equal(read, count);
});

test("documents that can't be imported are the job's business, not the call's", async (t) => {
  const gateway = await startTestGateway(t);
  gateway.index.add("lib-1", "docs", "hashing", 8);
  const { stream, reply } = startImport(gateway);
  await send(stream, header());
  await send(stream, document({ texts: [] }));
  await send(stream, document({ texts: ["x"], vectors: [{ values: [Number.NaN] }] }));
  stream.end();
  assert.equal((await reply).job?.itemCount, 2n);
});

test("what is wrong with the stream itself fails the call, and nothing stays", async (t) => {
  const gateway = await startTestGateway(t);
  gateway.index.add("lib-1", "docs", "hashing", 8);
  const good = document({ texts: ["x"] });
  const echo = SubmitJobRequest.fromPartial({ spec: { spec: { $case: "echo", value: {} } } }).spec;
  const cases: [string, ImportDocumentsRequest[], string, RegExp][] = [
    ["no message", [], "INVALID_ARGUMENT", /header: the first message; got no message/],
    ["no header", [good], "INVALID_ARGUMENT", /header: the first message; got a document/],
    ["two headers", [header(), good, header()], "INVALID_ARGUMENT", /second header/],
    ["no document", [header()], "INVALID_ARGUMENT", /document: at least one/],
    ["an empty message", [header(), { message: undefined }], "INVALID_ARGUMENT", /empty message/],
    [
      "another spec",
      [header({ spec: echo }), good],
      "INVALID_ARGUMENT",
      /spec: unset or batch_import; got echo/,
    ],
    ["a bad header", [header({ maxRetries: -1 }), good], "INVALID_ARGUMENT", /max_retries/],
    ["no library", [header({ libraryId: "" }), good], "INVALID_ARGUMENT", /library_id/],
    ["an unknown library", [header({ libraryId: "nowhere" }), good], "NOT_FOUND", /nowhere/],
    [
      "a large document",
      [header(), document({ texts: ["x".repeat(4_000_001)] })],
      "RESOURCE_EXHAUSTED",
      /document 0 has/,
    ],
    [
      "a large message",
      [header(), document({ texts: ["x".repeat(8_500_000)] })],
      "RESOURCE_EXHAUSTED",
      /larger than/,
    ],
  ];
  for (const [name, messages, code, text] of cases) {
    const { stream, reply } = startImport(gateway);
    for (const message of messages) stream.write(message);
    stream.end();
    const error = (await reply.catch((thrown: unknown) => thrown)) as ArrwError;
    assert.equal(error.code, code, name);
    assert.match(error.message, text, name);
  }
  assert.equal(gateway.scheduler.submissions.length, 0);
  await eventually(async () => (await objectsIn(gateway.nats)).length === 0);
});

test("a broken stream submits nothing, and what was spooled goes", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, index, nats } = gateway;
  index.add("lib-1", "docs", "hashing", 8);
  const { stream, reply } = startImport(gateway);
  await send(stream, header());
  for (let at = 0; at < 20; at++) await send(stream, document({ texts: ["x".repeat(100_000)] }));
  await eventually(async () => (await objectsIn(nats)).length > 0);
  stream.cancel();
  await assert.rejects(reply, { code: "CANCELLED" });
  await eventually(async () => (await objectsIn(nats)).length === 0);
  assert.equal(scheduler.submissions.length, 0);
});

test("the same stream has the same digest, another document another one", async (t) => {
  const gateway = await startTestGateway(t);
  gateway.index.add("lib-1", "docs", "hashing", 8);
  for (const [text, metadata] of [
    ["x", { a: 1, b: 2 }],
    ["x", { b: 2, a: 1 }],
    ["y", { a: 1, b: 2 }],
  ] as const) {
    const { stream, reply } = startImport(gateway);
    await send(stream, header({ requestId: "r" }));
    await send(stream, document({ texts: [text], metadata }));
    stream.end();
    await reply;
  }
  const digests = gateway.scheduler.submissions.map(({ requestDigest }) => requestDigest.toString("hex"));
  assert.equal(digests[0], digests[1]);
  assert.notEqual(digests[0], digests[2]);
});

test("a client that is faster than the store is held back: memory stays bounded", async (t) => {
  const gateway = await startTestGateway(t);
  gateway.index.add("lib-1", "docs", "hashing", 8);
  const { stream, reply } = startImport(gateway);
  await send(stream, header());
  await send(stream, document({ texts: ["x".repeat(1_000_000)] }));
  await eventually(async () => (await objectsIn(gateway.nats)).length > 0);
  process.kill(gateway.natsServer.pid, "SIGSTOP");
  const message = document({ texts: ["x".repeat(1_000_000)] });
  let written = 0;
  while (written < 60) {
    const room = stream.write(message);
    written += 1;
    if (room) continue;
    const drained = await Promise.race([
      once(stream, "drain").then(() => true),
      new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 700)),
    ]);
    if (!drained) break;
  }
  assert.ok(written < 40, `${written} MB were taken`);
  process.kill(gateway.natsServer.pid, "SIGCONT");
  stream.end();
  assert.equal((await reply).job?.itemCount, BigInt(written + 1));
});

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { v7 as uuidv7 } from "uuid";
import { ObjectId, Stream, Subject } from "../../../platform/nats/names.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { JobAttempt, JobResult, JobSpec, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import type { Cleanup } from "../../support/temp.ts";

/** One gateway, and exports as a worker would have left them. */
let gateway: TestGateway;
const stops: (() => Promise<void> | void)[] = [];
const all: Cleanup = { after: (run) => void stops.push(run) };
/** Several parts. */
const FILE = randomBytes(1_500_000);

interface Exported {
  readonly jobId: string;
  readonly url: string;
  readonly etag: string;
}

async function exported(bytes: Buffer, format = "ndjson", gzip = false, expiresAt?: Date): Promise<Exported> {
  const jobId = uuidv7();
  const objects = new JetStreamObjects(gateway.nats);
  const writer = await objects.writer({ objectId: ObjectId.export(jobId), writer: "7" });
  await writer.write(bytes);
  await writer.finish();
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const value = { format, sha256, fileSizeBytes: BigInt(bytes.length), documentsExported: 1n, expiresAt };
  await gateway.scheduler.move(jobId, {
    type: "batch_export",
    libraryId: "docs",
    status: JobStatus.JOB_STATUS_COMPLETED,
    completedAt: new Date("2026-01-31T12:00:00Z"),
    spec: JobSpec.fromPartial({ spec: { $case: "batchExport", value: { format, gzip } } }),
    result: JobResult.fromPartial({ result: { $case: "batchExport", value } }),
    attempts: [JobAttempt.fromPartial({ attempt: 1, lease: 7n, outcome: "completed" })],
  });
  return { jobId, url: `${gateway.probes}/v1/jobs/${jobId}/export`, etag: `"${sha256}"` };
}

let file: Exported;

before(async () => {
  gateway = await startTestGateway(all, [], { ARRW_CLIENT_MAX_STREAMS: "4" });
  file = await exported(FILE);
});

after(async () => {
  for (const stop of stops.reverse()) await stop();
});

async function get(url: string, headers: Record<string, string> = {}, method = "GET") {
  const response = await fetch(url, { headers, method });
  return { response, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
}

test("the whole file, with its name, type, length and checksum", async () => {
  const { response, headers, body } = await get(file.url);
  assert.equal(response.status, 200);
  assert.ok(body.equals(FILE));
  assert.equal(headers.get("etag"), file.etag);
  assert.equal(headers.get("content-length"), String(FILE.length));
  assert.equal(headers.get("accept-ranges"), "bytes");
  assert.equal(headers.get("content-type"), "application/x-ndjson; charset=utf-8");
  assert.equal(headers.get("x-content-type-options"), "nosniff");
  const name = `docs-2026-01-31-${file.jobId.slice(-12)}.ndjson`;
  assert.equal(headers.get("content-disposition"), `attachment; filename="${name}"`);
});

test("a compressed one is what it is: a file of gzip", async () => {
  const { url, jobId } = await exported(Buffer.from("not really"), "csv", true);
  const { headers, body } = await get(url);
  assert.equal(headers.get("content-type"), "application/gzip");
  assert.equal(headers.get("content-encoding"), null);
  assert.match(headers.get("content-disposition") ?? "", new RegExp(`${jobId.slice(-12)}\\.csv\\.gz"$`));
  assert.equal(body.toString(), "not really");
});

test("ranges: any one of the file's bytes", async () => {
  for (const [range, start, end] of [
    ["bytes=0-0", 0, 0],
    ["bytes=524287-524288", 524_287, 524_288],
    ["bytes=1000000-", 1_000_000, FILE.length - 1],
    ["bytes=-5", FILE.length - 5, FILE.length - 1],
    ["bytes=-9999999", 0, FILE.length - 1],
    ["bytes=1499990-9999999", 1_499_990, FILE.length - 1],
  ] as const) {
    const { response, headers, body } = await get(file.url, { range });
    assert.equal(response.status, 206, range);
    assert.equal(headers.get("content-range"), `bytes ${start}-${end}/${FILE.length}`);
    assert.equal(headers.get("content-length"), String(end - start + 1));
    assert.ok(body.equals(FILE.subarray(start, end + 1)), range);
  }
});

test("a range that is not there is refused with the size; several, or nonsense, give the whole", async () => {
  const refused = await get(file.url, { range: `bytes=${FILE.length}-` });
  assert.equal(refused.response.status, 416);
  assert.equal(refused.headers.get("content-range"), `bytes */${FILE.length}`);
  assert.equal(JSON.parse(refused.body.toString()).error.code, "OUT_OF_RANGE");
  for (const range of ["bytes=0-1,5-6", "lines=1-2", "bytes=x"]) {
    const { response, body } = await get(file.url, { range });
    assert.deepEqual([response.status, body.length], [200, FILE.length], range);
  }
});

test("a download goes on only with the file that it began with", async () => {
  const range = "bytes=1499999-";
  assert.equal((await get(file.url, { range, "if-range": file.etag })).response.status, 206);
  const other = await get(file.url, { range, "if-range": '"another"' });
  assert.deepEqual([other.response.status, other.body.length], [200, FILE.length]);
});

test("who has the file is told so", async () => {
  for (const known of [file.etag, `W/${file.etag}`, `"x", ${file.etag}`, "*"]) {
    const { response, headers, body } = await get(file.url, { "if-none-match": known });
    assert.deepEqual([response.status, body.length, headers.get("etag")], [304, 0, file.etag], known);
  }
  assert.equal((await get(file.url, { "if-none-match": '"x"', range: "bytes=0-1" })).response.status, 206);
});

test("HEAD: everything but the file", async () => {
  const { response, headers, body } = await get(file.url, {}, "HEAD");
  assert.deepEqual([response.status, body.length], [200, 0]);
  assert.equal(headers.get("content-length"), String(FILE.length));
  assert.equal(headers.get("etag"), file.etag);
  // None of them stays among the client's streams.
  for (let n = 0; n < 4; n++) assert.equal((await get(file.url, {}, "HEAD")).response.status, 200);
});

test("an empty file", async () => {
  const empty = await exported(Buffer.alloc(0));
  const { response, headers, body } = await get(empty.url);
  assert.deepEqual([response.status, headers.get("content-length"), body.length], [200, "0", 0]);
  assert.equal((await get(empty.url, { range: "bytes=0-" })).response.status, 416);
});

test("no file: unknown, not an export, not completed, expired", async () => {
  const { scheduler, probes } = gateway;
  const [echo, running] = [uuidv7(), uuidv7()];
  await scheduler.move(echo, { status: JobStatus.JOB_STATUS_COMPLETED });
  await scheduler.move(running, { status: JobStatus.JOB_STATUS_RUNNING, type: "batch_export" });
  const old = await exported(Buffer.from("old"), "json", false, new Date(0));
  for (const [jobId, status, reason] of [
    [uuidv7(), 404, "JOB_NOT_FOUND"],
    [echo, 409, "NO_EXPORT"],
    [running, 409, "EXPORT_NOT_COMPLETED"],
    [old.jobId, 410, "EXPORT_EXPIRED"],
  ] as const) {
    for (const method of ["GET", "HEAD"]) {
      const { response, body } = await get(`${probes}/v1/jobs/${jobId}/export`, {}, method);
      assert.equal(response.status, status, reason);
      if (method === "GET") assert.equal(JSON.parse(body.toString()).error.reason, reason);
    }
  }
});

test("a file that can't be read to its end breaks the connection", async () => {
  const broken = await exported(FILE);
  const second = Subject.objectPart(ObjectId.export(broken.jobId), 1, "7");
  await gateway.nats.purge(Stream.objects, { subject: second });
  const response = await fetch(broken.url);
  assert.equal(response.status, 200);
  await assert.rejects(response.arrayBuffer());
});

test("who asks for streams and is gone at once leaves none behind", async () => {
  const { host, port } = new URL(gateway.probes);
  const running = uuidv7();
  await gateway.scheduler.move(running, { status: JobStatus.JOB_STATUS_RUNNING });
  const paths = [file.url, `${gateway.probes}/v1/jobs/${running}/events`].map((url) => new URL(url).pathname);
  for (const path of paths) {
    for (let attempt = 0; attempt < 200; attempt++) {
      const socket = connect(Number(port), "127.0.0.1");
      await once(socket, "connect");
      await new Promise((sent) => socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`, sent));
      // Before, while and after the answer is made.
      if (attempt % 2 === 1) await delay(attempt % 9);
      socket.destroy();
    }
  }
  // A client may have four streams here.
  await eventually(async () => (await get(file.url)).response.status === 200, {
    what: "a stream to be free",
  });
});

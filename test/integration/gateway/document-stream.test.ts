import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createGzip, gzipSync } from "node:zlib";
import { readDelimited } from "../../../platform/delimited.ts";
import { ObjectId } from "../../../platform/nats/names.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import type { Cleanup } from "../../support/temp.ts";

/** One gateway for all of these; an upload in which nothing comes for a second is given up. */
let gateway: TestGateway;
let url: string;
const stops: (() => Promise<void> | void)[] = [];
const all: Cleanup = { after: (run) => void stops.push(run) };

before(async () => {
  gateway = await startTestGateway(all, [], { ARRW_HTTP_IDLE_TIMEOUT_MS: "1000" });
  gateway.index.add("docs-id", "docs", "hashing", 8);
  url = `${gateway.probes}/v1/libraries/docs/documents/stream`;
});

after(async () => {
  for (const stop of stops.reverse()) await stop();
});

const NDJSON = { "content-type": "application/x-ndjson" };

interface Answer {
  readonly code: number | undefined;
  readonly location?: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: tests know what it is
  readonly body: any;
}

async function post(
  body: string | Buffer,
  query = "",
  headers: Record<string, string> = NDJSON,
): Promise<Answer> {
  const response = await fetch(url + query, { method: "POST", headers, body: body as string });
  return { code: response.status, location: response.headers.get("location"), body: await response.json() };
}

const lines = (...documents: readonly object[]) =>
  documents.map((each) => `${JSON.stringify(each)}\n`).join("");

/** What was stored for the job, as the worker reads it. */
async function spooled(objectId: string): Promise<Document[]> {
  const documents: Document[] = [];
  const source = new JetStreamObjects(gateway.nats).read(objectId, 0);
  for await (const { bytes } of readDelimited(source, 0)) documents.push(Document.decode(bytes));
  return documents;
}

/** An upload that is written bit by bit. */
function upload(t: Cleanup, headers: Record<string, string> = NDJSON) {
  const asked: ClientRequest = request(url, { method: "POST", headers });
  asked.on("error", () => undefined);
  t.after(() => void asked.destroy());
  const answer = new Promise<IncomingMessage>((resolve) => asked.on("response", resolve));
  const answered = async (): Promise<Answer> => {
    const response = await answer;
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return { code: response.statusCode, body: JSON.parse(Buffer.concat(chunks).toString()) };
  };
  return { asked, answered };
}

test("documents, one a line, are stored and submitted with what the query says", async () => {
  const { submissions } = gateway.scheduler;
  const metadata = { year: 2020, nested: { a: [1, null, "x"] } };
  const body = lines(
    { document_id: "a", title: "A", texts: ["one", "zwei ü"], metadata, tags: ["t"] },
    { texts: ["x"], vectors: [[0.5, -1]] },
  );
  const query =
    "?request_id=stream-1&chunk_size=200&chunk_overlap=0&label=team:search&label=a:b:c&max_retries=7";
  const { code, location, body: answer } = await post(body.replaceAll("\n", "\r\n\r\n"), query);
  assert.equal(code, 202);
  const submission = submissions.at(-1);
  const { request } = submission ?? {};
  assert.equal(location, `/v1/jobs/${answer.job_id}`);
  assert.deepEqual(answer, {
    job_id: submission?.jobId,
    status: "pending",
    message: "Batch import job submitted (2 documents)",
  });
  assert.equal(request?.libraryId, "docs-id");
  assert.equal(request?.requestId, "stream-1");
  assert.deepEqual(request?.labels, { team: "search", a: "b:c" });
  assert.equal(request?.maxRetries, 7);
  assert.ok(request?.spec?.spec?.$case === "batchImport");
  const { chunkSize, chunkOverlap } = request.spec.spec.value;
  assert.deepEqual([chunkSize, chunkOverlap], [200, 0]);
  const [first, second] = await spooled(submission?.payloadObject ?? "");
  assert.deepEqual([first?.documentId, first?.texts, first?.metadata], ["a", ["one", "zwei ü"], metadata]);
  assert.deepEqual([second?.texts, second?.vectors.length], [["x"], 1]);
});

test("gzip, in several members, and types that mean the same", async () => {
  const body = Buffer.concat([gzipSync(lines({ texts: ["a"] })), gzipSync(lines({ texts: ["b"] }))]);
  const answer = await post(body, "", { ...NDJSON, "content-encoding": "gzip" });
  assert.match(answer.body.message, /2 documents/);
  for (const type of ["application/jsonl", "application/x-ndjson; charset=utf-8"]) {
    assert.equal((await post(lines({ texts: ["a"] }), "", { "content-type": type })).code, 202, type);
  }
});

test("curl sends a large body only when it is told to go on", async (t) => {
  const { asked, answered } = upload(t, { ...NDJSON, expect: "100-continue" });
  asked.flushHeaders();
  await once(asked, "continue");
  asked.end(lines({ texts: ["a"] }));
  assert.equal((await answered()).code, 202);
});

test("what is no document refuses the whole, by its line", async () => {
  const before = gateway.scheduler.submissions.length;
  const good = lines({ texts: ["a"] });
  const large = JSON.stringify({ texts: ["x".repeat(4_000_001)] });
  const cases: readonly (readonly [string | Buffer, number, RegExp])[] = [
    [`${good}\n{"texts":["a"]`, 400, /^line 3: the document is not JSON/],
    [`${good}{"texts":["a"],"texts":["b"]}`, 400, /^line 2: .*twice/],
    [`${good}[]`, 400, /^line 2: the document is JSON, but not/],
    [`${good}{"textz":["a"],"title":5}`, 400, /line 2: textz: unknown field.*line 2: title: a string; got 5/],
    [Buffer.concat([Buffer.from(good), Buffer.from([0x22, 0xff, 0x22])]), 400, /^line 2: .*UTF-8/],
    [good + large, 413, /^line 2: the document has \d+ bytes; at most 4000000/],
    [`${good}${" ".repeat(9_000_000)}x`, 400, /line 2: at most 8388608 bytes/],
    ["", 400, /document: at least one; got 0/],
    ["\n\n\n", 400, /document: at least one; got 0/],
  ];
  for (const [body, status, message] of cases) {
    const answer = await post(body);
    assert.match(answer.body.error.message, message);
    assert.equal(answer.code, status);
  }
  assert.equal(gateway.scheduler.submissions.length, before);
});

test("what the query can't say, other types and unknown libraries are refused before the body is read", async (t) => {
  const body = lines({ texts: ["a"] });
  const query = await post(body, "?chunk_size=many&label=x&unknown=1");
  const fields = query.body.error.fields.map(({ field }: { field: string }) => field).sort();
  assert.ok(query.code === 400 && fields.includes("unknown") && fields.includes("label"));
  const bounds = await post(body, "?chunk_size=-1&max_retries=1000");
  assert.deepEqual(bounds.body.error.fields.map(({ field }: { field: string }) => field).sort(), [
    "chunk_size",
    "max_retries",
  ]);
  for (const type of ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"]) {
    const refused = await post(body, "", { "content-type": type });
    assert.deepEqual([refused.code, refused.body.error.reason], [415, "UNSUPPORTED_MEDIA_TYPE"], type);
  }
  const encoded = await post(body, "", { ...NDJSON, "content-encoding": "br" });
  assert.equal(encoded.body.error.reason, "UNSUPPORTED_ENCODING");
  const endless = upload(t, { ...NDJSON, "content-encoding": "zstd" });
  endless.asked.write(body);
  assert.equal((await endless.answered()).code, 415);
  const elsewhere = await fetch(url.replace("docs", "nowhere"), { method: "POST", headers: NDJSON, body });
  assert.equal(elsewhere.status, 404);
});

test("an upload that breaks off submits nothing, and leaves nothing", async (t) => {
  const { submissions } = gateway.scheduler;
  const before = submissions.length;
  const objects = new JetStreamObjects(gateway.nats);
  const stored = async () =>
    Object.keys(await gateway.nats.streamSubjects("OBJECTS", "arrw.object.>")).length;
  const had = await stored();
  const document = lines({ texts: ["x".repeat(100_000)] });
  for (const headers of [NDJSON, { ...NDJSON, "content-length": "50000000" }]) {
    const { asked } = upload(t, headers);
    for (let i = 0; i < 30; i++) asked.write(document);
    await eventually(async () => (await stored()) > had, { what: "parts are stored" });
    asked.destroy();
    await eventually(async () => (await stored()) === had, { what: "they are removed" });
  }
  const cut = gzipSync(lines({ texts: ["a"] }, { texts: ["b"] }));
  const broken = await post(cut.subarray(0, -9), "", { ...NDJSON, "content-encoding": "gzip" });
  assert.equal(broken.code, 400);
  assert.match(broken.body.error.message, /gzip/);
  assert.equal(submissions.length, before);
  assert.equal(await objects.manifest(ObjectId.export("none")), undefined);
});

test("an upload in which nothing comes is given up", async (t) => {
  const { asked, answered } = upload(t);
  asked.write(`${lines({ texts: ["a"] })}{"texts":`);
  const startedAt = performance.now();
  const { code, body } = await answered();
  assert.deepEqual([code, body.error.reason], [408, "REQUEST_TIMEOUT"]);
  assert.ok(performance.now() - startedAt < 3_000);
});

test("a client waits for the store: what it may send meanwhile is bounded", async (t) => {
  const { asked, answered } = upload(t);
  const document = Buffer.from(lines({ texts: ["x".repeat(60_000)] }));
  asked.write(document);
  await eventually(() => asked.socket?.connecting === false);
  const { pid } = gateway.natsServer;
  process.kill(pid, "SIGSTOP");
  let sent = 0;
  try {
    // Until nothing more is taken for a moment.
    for (let waiting = 0; waiting < 20 && sent < 60_000_000; ) {
      if (asked.writableNeedDrain) {
        await delay(20);
        waiting = asked.writableNeedDrain ? waiting + 1 : 0;
        continue;
      }
      asked.write(document);
      sent += document.length;
    }
  } finally {
    process.kill(pid, "SIGCONT");
  }
  assert.ok(sent < 30_000_000, `${sent} bytes were taken`);
  asked.end();
  const { code, body } = await answered();
  assert.equal(code, 202, JSON.stringify(body));
});

test("a little gzip that unpacks to very much of nothing is refused", async (t) => {
  const { asked, answered } = upload(t, { ...NDJSON, "content-encoding": "gzip" });
  const gzip = createGzip();
  gzip.pipe(asked);
  const nothing = Buffer.alloc(1_000_000, "\n");
  let given = 0;
  const answer = answered();
  let done = false;
  void answer.finally(() => {
    done = true;
  });
  while (!done && given < 2_000) {
    given += 1;
    if (!gzip.write(nothing)) await Promise.race([once(gzip, "drain"), answer]);
  }
  gzip.end();
  const { code, body } = await answer;
  assert.equal(code, 400);
  assert.match(body.error.message, /blank/);
});

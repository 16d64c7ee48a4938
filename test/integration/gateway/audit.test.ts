import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { credentials, Metadata } from "@grpc/grpc-js";
import { freePort } from "../../../platform/free-port.ts";
import { connect, unary, waitForReady } from "../../../platform/grpc/client.ts";
import {
  CancelJobRequest,
  CancelJobsRequest,
  ImportDocumentsRequest,
  type ImportDocumentsResponse,
  JobServiceClient,
  SubmitJobRequest,
  SubmitJobsRequest,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { QueueServiceClient } from "../../../proto/gen/arrwdb/v1/queues.ts";
import { userEnv } from "../../support/arrw.ts";
import { bearer, KeyFile, TokenIssuer } from "../../support/credentials.ts";
import { startTestGateway } from "../../support/gateway.ts";
import { type Cleanup, tempDir } from "../../support/temp.ts";

const CALL = { timeoutMs: 5_000 };
const STREAM_BYTES = 64 * 1024 * 1024;
const TEXT = "what the document says";
const ECHO = SubmitJobRequest.fromPartial({
  requestId: "r-1",
  spec: { spec: { $case: "echo", value: { steps: 1, message: TEXT } } },
});

type Line = Readonly<Record<string, unknown>>;

async function linesOf(file: string): Promise<Line[]> {
  const text = await readFile(file, "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

const pick = (line: Line | undefined, ...names: string[]): Line =>
  Object.fromEntries(names.map((name) => [name, line?.[name]]));

test("each mutating call leaves a line: who, what, which, and how it ended; what only reads leaves none", async (t) => {
  const folder = await tempDir(t);
  const keys = new KeyFile(folder);
  await keys.add("ops", { role: "admin" });
  await keys.add("reader", { role: "viewer" });
  const file = join(folder, "audit.log");
  const gateway = await startTestGateway(t, [], { ARRW_API_KEYS_FILE: keys.path, ARRW_AUDIT_LOG_FILE: file });
  const { jobs, libraries } = gateway;
  const queues = new QueueServiceClient(gateway.address, credentials.createInsecure());
  t.after(() => queues.close());
  const ops = { ...CALL, metadata: bearer(keys.key("ops")) };
  const reader = { ...CALL, metadata: bearer(keys.key("reader")) };

  const { job } = await unary(jobs, jobs.submitJob, ECHO, ops);
  const jobId = job?.jobId ?? "";
  await unary(jobs, jobs.getJob, { jobId }, ops);
  const batch = SubmitJobsRequest.fromPartial({
    requests: [{ ...ECHO, requestId: "" }, { libraryId: "docs" }],
  });
  const { results } = await unary(jobs, jobs.submitJobs, batch, ops);
  const made = results.flatMap(({ outcome }) => (outcome?.$case === "job" ? [outcome.value.jobId] : []));
  await assert.rejects(unary(jobs, jobs.cancelJob, CancelJobRequest.fromPartial({ jobId: "none" }), ops));
  const some = CancelJobsRequest.fromPartial({ filter: { types: ["echo"] }, limit: 3 });
  await unary(jobs, jobs.cancelJobs, some, ops).catch(() => undefined);
  await assert.rejects(unary(jobs, jobs.submitJob, ECHO, reader), { code: "PERMISSION_DENIED" });
  await assert.rejects(unary(jobs, jobs.getJob, { jobId }, CALL), { code: "UNAUTHENTICATED" });
  await unary(libraries, libraries.createLibrary, { libraryId: "docs" } as never, ops).catch(() => undefined);
  await unary(queues, queues.setQueueLimit, { type: "echo", maxRunning: 3 }, ops);
  await importOne(jobs, ops.metadata).catch(() => undefined);
  const headers = { "content-type": "application/json" };
  await fetch(`${gateway.probes}/v1/jobs/echo`, { method: "POST", headers, body: "{}" });
  await gateway.stop();

  const lines = await linesOf(file);
  assert.deepEqual(
    lines.map(({ method }) => method),
    [
      "SubmitJob",
      "SubmitJobs",
      "CancelJob",
      "CancelJobs",
      "SubmitJob",
      "GetJob",
      "CreateLibrary",
      "SetQueueLimit",
      "ImportDocuments",
      "SubmitJob",
    ],
  );
  const [submit, submits, cancel, cancels, denied, unknown, create, limit, imported, unread] = lines;
  assert.deepEqual(pick(unread, "outcome", "reason"), {
    outcome: "UNAUTHENTICATED",
    reason: "CREDENTIALS_MISSING",
  });
  for (const line of lines) {
    assert.deepEqual([line.audit, line.level, line.address], [true, "info", "127.0.0.1"]);
    assert.equal(typeof line.ms, "number");
  }
  assert.deepEqual(pick(submit, "principal", "role", "by", "type", "request_id", "job_id", "outcome"), {
    principal: "ops",
    role: "admin",
    by: "api_key",
    type: "echo",
    request_id: "r-1",
    job_id: jobId,
    outcome: "OK",
  });
  assert.ok(jobId !== "" && made.length === 1);
  assert.deepEqual(pick(submits, "requests", "results", "library_ids", "job_ids", "outcome"), {
    requests: 2,
    results: 2,
    library_ids: ["docs"],
    job_ids: made,
    outcome: "OK",
  });
  assert.deepEqual(pick(cancel, "job_id", "outcome", "reason"), {
    job_id: "none",
    outcome: "NOT_FOUND",
    reason: "JOB_NOT_FOUND",
  });
  assert.deepEqual(cancels?.types, ["echo"]);
  assert.deepEqual(pick(denied, "principal", "outcome", "reason"), {
    principal: "reader",
    outcome: "PERMISSION_DENIED",
    reason: "ROLE_TOO_LOW",
  });
  assert.deepEqual(pick(unknown, "principal", "outcome", "reason"), {
    principal: undefined,
    outcome: "UNAUTHENTICATED",
    reason: "CREDENTIALS_MISSING",
  });
  assert.equal(create?.library_id, "docs");
  assert.deepEqual(pick(limit, "type", "max_running", "outcome"), {
    type: "echo",
    max_running: 3,
    outcome: "OK",
  });
  assert.deepEqual(pick(imported, "library_id", "request_id"), { library_id: "docs", request_id: "i-1" });
  const all = await readFile(file, "utf8");
  assert.ok(!all.includes(TEXT) && !all.includes("arrw_") && !all.includes("Bearer"));
  assert.equal((await stat(file)).mode & 0o777, 0o600);
});

function importOne(jobs: JobServiceClient, metadata: Metadata): Promise<ImportDocumentsResponse> {
  return new Promise((resolve, reject) => {
    const call = jobs.importDocuments(metadata, { deadline: Date.now() + 5_000 }, (error, response) =>
      error ? reject(error) : resolve(response),
    );
    const header = SubmitJobRequest.fromPartial({
      requestId: "i-1",
      libraryId: "docs",
      spec: { spec: { $case: "batchImport", value: {} } },
    });
    call.write(ImportDocumentsRequest.fromPartial({ message: { $case: "header", value: header } }));
    call.write(
      ImportDocumentsRequest.fromPartial({ message: { $case: "document", value: { texts: [TEXT] } } }),
    );
    call.end();
  });
}

test("no key and no token is in anything that a gateway writes or answers, at its most talkative", async (t) => {
  const folder = await tempDir(t);
  const keys = new KeyFile(folder);
  const issuer = new TokenIssuer(folder);
  await keys.add("ops", { role: "admin" });
  await issuer.renew();
  const token = await issuer.sign({ role: "admin" });
  const wrongKey = "arrw_wrong-key-wrong-key";
  const wrongToken = `${token.slice(0, -8)}wrong-sg`;
  const { natsServer, scheduler, index } = await startTestGateway(t);
  const gateway = await startProcess(t, {
    ARRW_NATS_URL: natsServer.url,
    ARRW_SCHEDULER_ADDRESS: scheduler.address,
    ARRW_INDEX_ADDRESS: index.address,
    ARRW_API_KEYS_FILE: keys.path,
    ARRW_JWKS_FILE: issuer.path,
    ARRW_LOG_LEVEL: "trace",
    ARRW_JOURNAL_MAX_BYTES: String(STREAM_BYTES),
    ARRW_OBJECTS_MAX_BYTES: String(STREAM_BYTES),
  });
  const answers: string[] = [];
  for (const secret of [keys.key("ops"), token, wrongKey, wrongToken]) {
    const apiKey = new Metadata();
    apiKey.set("x-api-key", secret);
    for (const metadata of [bearer(secret), apiKey]) {
      const { jobs } = gateway;
      await unary(jobs, jobs.submitJob, ECHO, { ...CALL, metadata }).catch((error: Error) =>
        answers.push(JSON.stringify({ ...error, message: error.message })),
      );
    }
    const headers = { authorization: `Bearer ${secret}` };
    answers.push(await (await fetch(`${gateway.http}/metrics`, { headers })).text());
    answers.push(await (await fetch(`${gateway.http}/v1/jobs`, { headers })).text());
    const events = fetch(`${gateway.http}/v1/events?access_token=${secret}`, abortedSoon());
    answers.push(await events.then((answer) => answer.text()).catch(String));
  }
  await gateway.stop();
  const written = [...gateway.output, ...answers].join("\n");
  assert.match(written, /"audit":true.*"principal":"ops"/);
  assert.match(written, /"by":"jwt"/);
  assert.match(written, /"reason":"CREDENTIALS_INVALID"/);
  const signature = token.split(".")[2] ?? "";
  for (const secret of [keys.key("ops"), token, signature, wrongKey, wrongToken])
    assert.ok(!written.includes(secret), `${secret} was written`);
});

/** An event stream has no end of its own. */
function abortedSoon(): RequestInit {
  return { signal: AbortSignal.timeout(300) };
}

interface GatewayProcess {
  readonly jobs: JobServiceClient;
  readonly http: string;
  /** All that it has written. */
  readonly output: readonly string[];
  stop(): Promise<void>;
}

async function startProcess(t: Cleanup, env: Readonly<Record<string, string>>): Promise<GatewayProcess> {
  const [grpc, http] = [await freePort(), await freePort()];
  const child: ChildProcess = fork(join(import.meta.dirname, "../../../services/gateway/main.ts"), [], {
    env: userEnv({ ...env, ARRW_GATEWAY_GRPC_PORT: String(grpc), ARRW_GATEWAY_HTTP_PORT: String(http) }),
    execArgv: ["--import", "tsx"],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (text: string) => output.push(text));
  const closed = once(child, "close");
  const jobs = connect(JobServiceClient, `127.0.0.1:${grpc}`);
  const stop = async (): Promise<void> => {
    jobs.close();
    child.kill("SIGTERM");
    await closed;
  };
  t.after(stop);
  const ready = await Promise.race([once(child, "message").then(() => true), closed.then(() => false)]);
  if (!ready) throw new Error(output.join(""));
  await waitForReady(jobs, 5_000);
  return { jobs, http: `http://127.0.0.1:${http}`, output, stop };
}

test("a gateway that others would reach without proof refuses to start, in a line that says what to do", async (t) => {
  await assert.rejects(startProcess(t, { ARRW_HOST: "0.0.0.0" }), (error: Error) => {
    const line = JSON.parse(error.message.trim()) as Line;
    assert.equal(line.level, "fatal");
    assert.match(
      String(line.msg),
      /^ARRW_HOST: 0\.0\.0\.0 .*set ARRW_API_KEYS_FILE.*ARRW_ALLOW_UNAUTHENTICATED=true/,
    );
    return true;
  });
});

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import {
  Client,
  compressionAlgorithms,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { serverStream, unary } from "../../../platform/grpc/client.ts";
import {
  ImportDocumentsRequest,
  JobStatus,
  ListJobsRequest,
  SubmitJobRequest,
  WatchJobRequest,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { QueueServiceClient } from "../../../proto/gen/arrwdb/v1/queues.ts";
import { bearer, KeyFile, TokenIssuer } from "../../support/credentials.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import { type Cleanup, tempDir } from "../../support/temp.ts";

/** One gateway with API keys and a key set for all of these. */
let gateway: TestGateway;
let queues: QueueServiceClient;
let keys: KeyFile;
let issuer: TokenIssuer;
const stops: (() => Promise<void> | void)[] = [];
const t: Cleanup = { after: (run) => void stops.push(run) };

before(async () => {
  const folder = await tempDir(t);
  keys = new KeyFile(folder);
  issuer = new TokenIssuer(folder);
  await keys.add("viewer", { role: "viewer" });
  await keys.add("submitter", { role: "submitter" });
  await keys.add("admin", { role: "admin" });
  await keys.add("confined", { role: "admin", libraries: ["docs"] });
  await keys.add("expired", { role: "admin", expires_at: "2020-01-01T00:00:00Z" });
  await issuer.renew();
  gateway = await startTestGateway(t, [], {
    ARRW_API_KEYS_FILE: keys.path,
    ARRW_JWKS_FILE: issuer.path,
    ARRW_JWT_ISSUER: "https://issuer.test",
  });
  queues = new QueueServiceClient(gateway.address, credentials.createInsecure());
  t.after(() => queues.close());
});

after(async () => {
  for (const stop of stops.reverse()) await stop();
});

const CALL = { timeoutMs: 5_000 };
const ECHO = SubmitJobRequest.fromPartial({ spec: { spec: { $case: "echo", value: { steps: 1 } } } });
const as = (name: string) => ({ ...CALL, metadata: bearer(keys.key(name)) });
const list = (metadata?: Metadata) =>
  unary(gateway.jobs, gateway.jobs.listJobs, ListJobsRequest.fromPartial({}), {
    ...CALL,
    ...(metadata ? { metadata } : {}),
  });
const submit = (call: ReturnType<typeof as>) => unary(gateway.jobs, gateway.jobs.submitJob, ECHO, call);

test("without credentials, or with wrong ones, nobody gets in, and all hear the same", async () => {
  const key = keys.key("viewer");
  const header = (name: string, value: string): Metadata => {
    const metadata = new Metadata();
    metadata.set(name, value);
    return metadata;
  };
  const wrong = [
    bearer(`${key.slice(0, -1)}${key.endsWith("A") ? "B" : "A"}`),
    bearer(keys.key("expired")),
    bearer("arrw_"),
    bearer("not.a.token"),
    header("authorization", key),
    header("authorization", `Basic ${key}`),
    header("x-api-key", "arrw_wrong"),
  ];
  const cases: [Metadata | undefined, string][] = [
    [undefined, "CREDENTIALS_MISSING"],
    ...wrong.map((metadata): [Metadata, string] => [metadata, "CREDENTIALS_INVALID"]),
  ];
  const messages = new Set<string>();
  for (const [metadata, reason] of cases) {
    await assert.rejects(list(metadata), (error: { code: string; reason: string; message: string }) => {
      assert.deepEqual([error.code, error.reason], ["UNAUTHENTICATED", reason]);
      messages.add(error.message);
      return true;
    });
  }
  assert.equal(messages.size, 1);
  await list(bearer(key));
  await list(header("authorization", `bearer  ${key}`));
  await list(header("x-api-key", key));
});

test("roles: viewers read, submitters submit, admins manage; operators' calls need all libraries", async () => {
  const denied = (reason: string, metadata: Record<string, string> = {}) => ({
    code: "PERMISSION_DENIED",
    reason,
    metadata,
  });
  await list(bearer(keys.key("viewer")));
  const needs = { role: "viewer", needed_role: "submitter" };
  await assert.rejects(submit(as("viewer")), denied("ROLE_TOO_LOW", needs));
  assert.ok((await submit(as("submitter"))).job?.jobId);
  const pause = (name: string) => unary(queues, queues.pauseQueue, { type: "echo" }, as(name));
  await assert.rejects(
    pause("submitter"),
    denied("ROLE_TOO_LOW", { role: "submitter", needed_role: "admin" }),
  );
  await assert.rejects(pause("confined"), denied("CONFINED_TO_LIBRARIES"));
  await pause("admin");
  await assert.rejects(
    unary(queues, queues.listWorkers, {}, as("confined")),
    denied("CONFINED_TO_LIBRARIES"),
  );
  await unary(queues, queues.listWorkers, {}, as("viewer"));
});

test("a token's claims say who, what and where; it is verified", async () => {
  const now = Math.floor(Date.now() / 1_000);
  const admin = await issuer.sign({ role: "admin" });
  await submit({ ...CALL, metadata: bearer(admin) });
  await list(bearer(await issuer.sign({ arrw_role: "viewer", role: "some-other-system's" })));
  await list(bearer(await issuer.sign({ role: "viewer", exp: now - 10 })));
  const confined = bearer(await issuer.sign({ role: "admin", libraries: ["docs"] }));
  const workers = unary(queues, queues.listWorkers, {}, { ...CALL, metadata: confined });
  await assert.rejects(workers, { code: "PERMISSION_DENIED", reason: "CONFINED_TO_LIBRARIES" });

  const other = await generateKeyPair("ES256");
  const forged = await new SignJWT({ aud: "arrwdb", iss: "https://issuer.test", sub: "ann", role: "admin" })
    .setProtectedHeader({ alg: "ES256" })
    .setExpirationTime("1h")
    .sign(other.privateKey);
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const unsigned = `${part({ alg: "none" })}.${admin.split(".")[1]}.`;
  const secret = new TextEncoder().encode(JSON.stringify(await exportJWK(other.publicKey)));
  const symmetric = await new SignJWT({
    aud: "arrwdb",
    iss: "https://issuer.test",
    sub: "ann",
    role: "admin",
  })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(secret);
  const cases: [string, string][] = [
    [forged, "CREDENTIALS_INVALID"],
    [unsigned, "CREDENTIALS_INVALID"],
    [symmetric, "CREDENTIALS_INVALID"],
    [await issuer.sign({ role: "admin", exp: now - 60 }), "CREDENTIALS_INVALID"],
    [await issuer.sign({ role: "admin", nbf: now + 60 }), "CREDENTIALS_INVALID"],
    [await issuer.sign({ role: "admin", aud: "others" }), "CREDENTIALS_INVALID"],
    [await issuer.sign({ role: "admin", iss: "https://other.test" }), "CREDENTIALS_INVALID"],
    [await issuer.sign({}), "ROLE_MISSING"],
    [await issuer.sign({ role: ["admin"] }), "ROLE_MISSING"],
    [await issuer.sign({ role: "admin", libraries: "docs" }), "CLAIMS_INVALID"],
    [await issuer.sign({ role: "admin", arrw_libraries: null }), "CLAIMS_INVALID"],
    [await issuer.sign({ role: "admin", arrw_role: null }), "ROLE_MISSING"],
  ];
  for (const [token, reason] of cases) {
    const code = reason === "CREDENTIALS_INVALID" ? "UNAUTHENTICATED" : "PERMISSION_DENIED";
    await assert.rejects(list(bearer(token)), { code, reason });
  }
});

test("over HTTP nobody's body is looked at who has not said who they are", async (t) => {
  // Nobody has failed there yet.
  const own = await startTestGateway(t, [], { ARRW_API_KEYS_FILE: keys.path });
  const packed = gzipSync(`{"jobs":[${"{},".repeat(2_700_000)}{}]}`);
  const post = async (path: string, body: Uint8Array | string, headers: Record<string, string> = {}) => {
    const json = { "content-type": "application/json", ...headers };
    const response = await fetch(`${own.probes}${path}`, { method: "POST", headers: json, body });
    const { error } = (await response.json()) as { readonly error: { readonly reason: string } };
    return [response.status, error.reason];
  };
  const missing = [401, "CREDENTIALS_MISSING"];
  assert.deepEqual(await post("/v1/jobs", "no JSON"), missing);
  assert.deepEqual(await post("/nowhere", "no JSON"), missing);
  assert.deepEqual(await post("/v1/jobs", packed, { "content-encoding": "gzip" }), missing);
  const key = { authorization: `Bearer ${keys.key("viewer")}` };
  assert.deepEqual(await post("/v1/jobs", "no JSON", key), [400, "MALFORMED_JSON"]);
});

test("over gRPC nobody's message is looked at who has not said who they are; health is open", async (t) => {
  const own = await startTestGateway(t, [], {
    ARRW_API_KEYS_FILE: keys.path,
    ARRW_JWKS_FILE: issuer.path,
    ARRW_JWT_ISSUER: "https://issuer.test",
  });
  const client = new Client(own.address, credentials.createInsecure(), {
    "grpc.default_compression_algorithm": compressionAlgorithms.gzip,
  });
  t.after(() => client.close());
  const same = (bytes: Buffer): Buffer => bytes;
  const failureOf = (path: string, bytes: Buffer, metadata = new Metadata(), streams = false) =>
    new Promise<[number, string]>((resolve, reject) => {
      const options = { deadline: Date.now() + 5_000 };
      const ended = (error: ServiceError | null): void => {
        const details = String(error?.metadata.get("grpc-status-details-bin")[0]);
        if (error) resolve([error.code, /[A-Z]+_[A-Z_]+/.exec(details)?.[0] ?? ""]);
        else reject(new Error(`${path} succeeded`));
      };
      if (streams) {
        const call = client.makeServerStreamRequest(path, same, same, bytes, metadata, options);
        call.on("error", ended).resume();
      } else client.makeUnaryRequest(path, same, same, bytes, metadata, options, ended);
    });
  const job = "/arrwdb.v1.JobService/GetJob";
  const watch = "/arrwdb.v1.JobService/WatchJob";
  const [wrong, large] = [Buffer.from([0xff]), Buffer.alloc(9 * 1024 * 1024)];
  const missing = [status.UNAUTHENTICATED, "CREDENTIALS_MISSING"];
  assert.deepEqual(await failureOf(job, wrong), missing);
  assert.deepEqual(await failureOf(job, large), missing);
  assert.deepEqual(await failureOf(watch, wrong, new Metadata(), true), missing);
  const invalid = [status.UNAUTHENTICATED, "CREDENTIALS_INVALID"];
  assert.deepEqual(await failureOf(job, wrong, bearer("not.a.token")), invalid);
  const token = bearer(await issuer.sign({ role: "viewer" }));
  for (const known of [bearer(keys.key("viewer")), token, token]) {
    const malformed = [status.INVALID_ARGUMENT, "MALFORMED_MESSAGE"];
    assert.deepEqual(await failureOf(job, wrong, known), malformed);
    assert.deepEqual(await failureOf(watch, wrong, known, true), malformed);
  }
  assert.deepEqual(await failureOf(job, large, token), [status.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"]);
  const health = "/grpc.health.v1.Health/Check";
  assert.deepEqual(await failureOf(health, wrong), [status.INVALID_ARGUMENT, "MALFORMED_MESSAGE"]);

  const metrics = await (
    await fetch(`${own.probes}/metrics`, { headers: { "x-api-key": keys.key("viewer") } })
  ).text();
  assert.match(metrics, /arrw_grpc_server_seconds_count\{.*GetJob",code="UNAUTHENTICATED".*\} 3/);
  assert.match(metrics, /arrw_gateway_refused_total\{reason="CREDENTIALS_MISSING".*\} 3/);
});

test("a changed file counts within seconds, a broken one not at all; streams end with their key", async () => {
  await keys.add("late", { role: "admin" });
  await eventually(() => list(bearer(keys.key("late"))), { intervalMs: 200 });
  const job = (await submit(as("late"))).job;
  assert.ok(job);
  await gateway.scheduler.move(job.jobId, { status: JobStatus.JOB_STATUS_RUNNING });
  const watch = serverStream(
    gateway.jobs,
    gateway.jobs.watchJob,
    WatchJobRequest.fromPartial({ jobId: job.jobId }),
    {
      timeoutMs: 20_000,
      metadata: bearer(keys.key("late")),
    },
  )[Symbol.asyncIterator]();
  assert.ok(!(await watch.next()).done);

  gateway.index.add("docs", "docs", "hashing", 8);
  const upload = startUpload(bearer(keys.key("late")));

  await keys.replace("{ broken");
  // The next file is seen only by a look after the broken one.
  await keys.remove("late");
  await eventually(
    async () => {
      await assert.rejects(list(bearer(keys.key("late"))), { reason: "CREDENTIALS_INVALID" });
      return true;
    },
    { intervalMs: 200 },
  );
  await list(bearer(keys.key("viewer")));
  upload.finish();
  await assert.rejects(upload.ended, { code: status.UNAUTHENTICATED });
  await gateway.scheduler.move(job.jobId, { status: JobStatus.JOB_STATUS_COMPLETED });
  await assert.rejects(watch.next(), { code: "UNAUTHENTICATED", reason: "CREDENTIALS_INVALID" });

  const before = await issuer.sign({ role: "viewer" });
  await list(bearer(before));
  await issuer.renew();
  await eventually(
    async () => {
      await assert.rejects(list(bearer(before)), { reason: "CREDENTIALS_INVALID" });
      return true;
    },
    { intervalMs: 200 },
  );
  // Tokens that are new are verified only as long as not too many were wrong.
  const renewed = await issuer.sign({ role: "viewer" });
  await eventually(() => list(bearer(renewed)), { intervalMs: 200 });
});

/** An upload of which a document has come, and its end has not. */
function startUpload(metadata: Metadata): { readonly ended: Promise<unknown>; finish(): void } {
  let finish = (): void => undefined;
  const ended = new Promise((resolve, reject) => {
    const call = gateway.jobs.importDocuments(metadata, (error, response) =>
      error ? reject(error) : resolve(response),
    );
    const header = SubmitJobRequest.fromPartial({ libraryId: "docs" });
    call.write(ImportDocumentsRequest.fromPartial({ message: { $case: "header", value: header } }));
    const value = { documentId: "a", texts: ["a"] };
    call.write(ImportDocumentsRequest.fromPartial({ message: { $case: "document", value } }));
    finish = () => call.end();
  });
  ended.catch(() => undefined);
  return { ended, finish };
}

test("a file that is wrong at the start ends it, and says what is wrong", async (t) => {
  const folder = await tempDir(t);
  const path = join(folder, "bad.json");
  await writeFile(path, JSON.stringify({ keys: [{ name: "x", role: "boss", sha256: [] }] }));
  const start = (env: Readonly<Record<string, string>>) => startTestGateway(t, [], env);
  await assert.rejects(
    start({ ARRW_API_KEYS_FILE: path }),
    /API keys in .*keys\[0\]\.role: expected one of viewer/,
  );
  await assert.rejects(start({ ARRW_API_KEYS_FILE: join(folder, "none.json") }), /ENOENT/);
  await writeFile(path, JSON.stringify({ keys: [{ kty: "oct", k: "c2VjcmV0" }] }));
  await assert.rejects(start({ ARRW_JWKS_FILE: path }), /keys\[0\] is secret/);
});

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { get as httpGet, type RequestOptions } from "node:http";
import { get as httpsGet, type RequestOptions as SecureOptions } from "node:https";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import { type System, startSystem } from "../../cli/supervisor.ts";
import { ArrwClient } from "../../client/index.ts";
import { connect, unary } from "../../platform/grpc/client.ts";
import { GrpcServer, implement } from "../../platform/grpc/server.ts";
import { silentLog } from "../../platform/log.ts";
import { createRegistry, ProbeListener } from "../../platform/metrics.ts";
import { Tls, type TlsSettings } from "../../platform/tls.ts";
import { IndexServiceClient, ListLibrariesRequest } from "../../proto/gen/arrwdb/index/v1/index.ts";
import { SchedulerServiceClient } from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { HealthClient, HealthService } from "../../proto/gen/health/v1/health.ts";
import { type Issued, TestAuthority } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { tempDir } from "../support/temp.ts";

const NONE: TlsSettings = {
  ARRW_TLS_CERT_FILE: "",
  ARRW_TLS_KEY_FILE: "",
  ARRW_TLS_CLIENT_CA_FILE: "",
  ARRW_TLS_CA_FILE: "",
};

/** Everything with certificates of one authority, each side asking the other for one. */
function mutual(authority: TestAuthority, { certFile, keyFile }: Issued): TlsSettings {
  return {
    ARRW_TLS_CERT_FILE: certFile,
    ARRW_TLS_KEY_FILE: keyFile,
    ARRW_TLS_CLIENT_CA_FILE: authority.caFile,
    ARRW_TLS_CA_FILE: authority.caFile,
  };
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

function fetched(address: string, path: string, options: SecureOptions | undefined): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const [host, port] = address.split(":");
    const where: RequestOptions = { host, port, path, timeout: 5_000, agent: false };
    const request = options ? httpsGet({ ...where, ...options }) : httpGet(where);
    request.on("response", (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", reject);
  });
}

const pem = (file: string): Buffer => readFileSync(file);
const trusting = (caFile: string): SecureOptions => ({ ca: pem(caFile) });
const showing = (caFile: string, { certFile, keyFile }: Issued): SecureOptions => ({
  ...trusting(caFile),
  cert: pem(certFile),
  key: pem(keyFile),
});

/** What a client without the right certificates meets: an error within seconds, never a hang. */
async function refused(call: () => Promise<unknown>, expected: object | RegExp): Promise<void> {
  const asked = performance.now();
  await assert.rejects(call(), expected as never);
  assert.ok(performance.now() - asked < 4_000, "it hung");
}

let authority: TestAuthority;
let foreign: TestAuthority;
let own: Issued;
let stranger: Issued;
let system: System;
const cleanups: (() => Promise<void> | void)[] = [];

before(async () => {
  const t = { after: (run: () => Promise<void> | void) => void cleanups.push(run) };
  authority = await TestAuthority.create(join(await tempDir(t), "ours"));
  foreign = await TestAuthority.create(join(await tempDir(t), "theirs"));
  own = await authority.issue({ name: "arrwdb" });
  stranger = await foreign.issue({ name: "stranger" });
  system = await startSystem({ temporary: true, settings: { ...mutual(authority, own) }, syncAlways: false });
  cleanups.push(() => system.stop());
});

after(async () => {
  for (const run of cleanups.reverse()) await run();
});

const addressOf = (setting: string): string =>
  system.addresses.find((each) => each.setting === setting)?.address ?? "";

test("a system with mTLS on every hop imports and searches", async (t) => {
  const tls = { caFile: authority.caFile, ...own };
  const client = new ArrwClient({ address: system.address, tls });
  t.after(() => client.close());
  const { libraryId } = await client.createLibrary({ name: "secure" });
  const documents = Array.from({ length: 20 }, (_, n) => ({
    title: `t${n}`,
    texts: [`number ${n} of many`],
  }));
  const job = await client.wait((await client.importDocuments(libraryId, documents)).jobId);
  assert.equal(job.status, JobStatus.JOB_STATUS_COMPLETED);
  const { hits } = await client.search(libraryId, "number 7 of many", { k: 1 });
  assert.equal(hits[0]?.title, "t7");
});

test("metrics and probes are there over https for those with a certificate, and nobody else", async () => {
  const settings = [
    "ARRW_GATEWAY_HTTP_PORT",
    "ARRW_SCHEDULER_HTTP_PORT",
    "ARRW_WORKER_HTTP_PORT",
    "ARRW_INDEX_HTTP_PORT",
  ];
  for (const address of settings.map(addressOf)) {
    const metrics = await fetched(address, "/metrics", showing(authority.caFile, own));
    assert.equal(metrics.status, 200);
    assert.match(metrics.body, /^arrw_tls_certificate_expires_timestamp_seconds\{.*\} 1\d{9}/m);
    assert.equal((await fetched(address, "/readyz", showing(authority.caFile, own))).status, 200);
    await refused(() => fetched(address, "/healthz", undefined), Error);
    await refused(() => fetched(address, "/healthz", trusting(authority.caFile)), Error);
    await refused(() => fetched(address, "/healthz", showing(authority.caFile, stranger)), Error);
    await refused(() => fetched(address, "/healthz", showing(foreign.caFile, own)), /certificate/);
  }
});

test("gRPC of every service refuses clients without a certificate of the authority", async (t) => {
  const calls = {
    ARRW_SCHEDULER_GRPC_PORT: (tls: Tls | undefined) => {
      const client = connect(SchedulerServiceClient, addressOf("ARRW_SCHEDULER_GRPC_PORT"), { tls });
      t.after(() => client.close());
      return unary(client, client.getQueueStats, { visibleLibraries: [] }, { timeoutMs: 3_000 });
    },
    ARRW_INDEX_GRPC_PORT: (tls: Tls | undefined) => {
      const client = connect(IndexServiceClient, addressOf("ARRW_INDEX_GRPC_PORT"), { tls });
      t.after(() => client.close());
      return unary(client, client.listLibraries, ListLibrariesRequest.fromPartial({ pageSize: 1 }), {
        timeoutMs: 3_000,
      });
    },
    ARRW_GATEWAY_GRPC_PORT: (tls: Tls | undefined) => {
      const client = connect(HealthClient, system.address, { tls });
      t.after(() => client.close());
      return unary(client, client.check, { service: "" }, { timeoutMs: 3_000 });
    },
  };
  const load = (settings: Partial<TlsSettings>) =>
    new Tls({ settings: { ...NONE, ...settings }, log: silentLog() });
  const withoutOne = load({ ARRW_TLS_CA_FILE: authority.caFile });
  const withForeign = load({ ...mutual(authority, stranger) });
  const trustsOthers = load({ ...mutual(foreign, own) });
  for (const [name, call] of Object.entries(calls)) {
    await t.test(name, async () => {
      await call(load(mutual(authority, own)));
      for (const tls of [undefined, withoutOne, withForeign, trustsOthers]) {
        await refused(() => call(tls), { code: "UNAVAILABLE" });
      }
    });
  }
});

function readyCheck(setting: string, env: Record<string, string>): Promise<number | null> {
  const script = join(import.meta.dirname, "../../platform/ready-check.ts");
  const child = spawn(process.execPath, ["--import", "tsx", script, addressOf(setting).split(":")[1] ?? ""], {
    env: { PATH: process.env.PATH, ...env },
    stdio: "ignore",
  });
  return once(child, "exit").then(([code]) => code as number | null);
}

test("a container's health check takes the service's settings", async () => {
  const port = "ARRW_WORKER_HTTP_PORT";
  assert.equal(await readyCheck(port, { ...mutual(authority, own) }), 0);
  assert.equal(await readyCheck(port, {}), 1);
});

async function echoPeer(t: TestContext, tls: Tls, seen: (string | undefined)[]): Promise<GrpcServer> {
  const registry = createRegistry("test");
  const server = new GrpcServer({
    host: "127.0.0.1",
    port: 0,
    services: [
      implement(HealthService, {
        check: async (_request, { peer }) => {
          seen.push(peer.certificateSubject);
          return { status: 1 };
        },
        list: async () => ({ statuses: {} }),
        watch: async function* () {},
      }),
    ],
    log: silentLog(),
    registry,
    maxReceiveBytes: 1_000_000,
    defaultTimeoutMs: 5_000,
    tls,
  });
  await server.start();
  t.after(() => server.stop());
  return server;
}

test("handlers see the subject of the client's certificate", async (t) => {
  const seen: (string | undefined)[] = [];
  const server = await echoPeer(t, new Tls({ settings: mutual(authority, own), log: silentLog() }), seen);
  const caller = await authority.issue({ name: "a-caller" });
  const tls = new Tls({ settings: mutual(authority, caller), log: silentLog() });
  const client = connect(HealthClient, `127.0.0.1:${server.port}`, { tls });
  t.after(() => client.close());
  await unary(client, client.check, { service: "" }, { timeoutMs: 3_000 });
  assert.deepEqual(seen, ["a-caller"]);
});

test("without a client authority nobody is asked for a certificate, and the channel is private all the same", async (t) => {
  const seen: (string | undefined)[] = [];
  const settings = { ...NONE, ARRW_TLS_CERT_FILE: own.certFile, ARRW_TLS_KEY_FILE: own.keyFile };
  const server = await echoPeer(t, new Tls({ settings, log: silentLog() }), seen);
  const client = new HealthClient(`localhost:${server.port}`, credentials.createSsl(pem(authority.caFile)));
  t.after(() => client.close());
  await unary(client, client.check, { service: "" }, { timeoutMs: 3_000 });
  assert.deepEqual(seen, [undefined]);
});

async function certificateAt(port: number): Promise<string> {
  const socket = connectTls({
    host: "127.0.0.1",
    port,
    ca: pem(authority.caFile),
    ALPNProtocols: ["h2", "http/1.1"],
  });
  await once(socket, "secureConnect");
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return String(subject.CN);
}

test("renewed files are taken up without a restart; a half renewed pair leaves the one in use", async (t) => {
  const folder = await tempDir(t);
  const settings = {
    ...NONE,
    ARRW_TLS_CERT_FILE: join(folder, "cert.pem"),
    ARRW_TLS_KEY_FILE: join(folder, "key.pem"),
  };
  const old = await authority.issue({ name: "old" });
  await copyFile(old.certFile, settings.ARRW_TLS_CERT_FILE);
  await copyFile(old.keyFile, settings.ARRW_TLS_KEY_FILE);
  const tls = new Tls({ settings, log: silentLog(), intervalMs: 20 });
  await tls.start();
  t.after(() => tls.stop());
  const grpc = await echoPeer(t, tls, []);
  const probes = new ProbeListener({
    host: "127.0.0.1",
    port: 0,
    registry: createRegistry("test"),
    checks: {},
    tls,
  });
  await probes.start();
  t.after(() => probes.stop());
  const ports = [grpc.port, probes.port];
  for (const port of ports) assert.equal(await certificateAt(port), "old");

  const renewed = await authority.issue({ name: "renewed" });
  await copyFile(renewed.certFile, settings.ARRW_TLS_CERT_FILE);
  // Two looks at least, with a certificate that the key doesn't belong to.
  const until = performance.now() + 100;
  await eventually(() => performance.now() > until);
  for (const port of ports) assert.equal(await certificateAt(port), "old");

  await copyFile(renewed.keyFile, settings.ARRW_TLS_KEY_FILE);
  for (const port of ports) await eventually(async () => (await certificateAt(port)) === "renewed");
});

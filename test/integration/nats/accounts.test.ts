import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connect, type NatsConnection } from "nats";
import { ArrwClient } from "../../../client/index.ts";
import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { Bucket, Stream, Subject } from "../../../platform/nats/names.ts";
import { objectRemovals } from "../../../platform/nats/object-removal.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { ensureStreams } from "../../../platform/nats/streams.ts";
import { JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { TestAuthority } from "../../support/certificates.ts";
import { eventually } from "../../support/eventually.ts";
import { startGateway } from "../../support/gateway.ts";
import { startIndexProcess } from "../../support/index-process.ts";
import { startTestNats, type TestNats } from "../../support/nats.ts";
import { reversed } from "../../support/reversed.ts";
import { SchedulerProcess } from "../../support/scheduler-process.ts";
import { tempDir } from "../../support/temp.ts";
import { startWorkerProcess } from "../worker/worker-process.ts";

type Role = "scheduler" | "gateway" | "worker";

const API = "JSC.API";
const MIB = 1024 * 1024;
const BOUNDS = { journalMaxBytes: 64 * MIB, objectsMaxBytes: 64 * MIB, replicas: 1 };
const SHIPPED = join(import.meta.dirname, "../../../deploy/nats/accounts.conf");
const PASSWORDS = {
  NATS_SCHEDULER_PASSWORD: "scheduler-secret",
  NATS_GATEWAY_PASSWORD: "gateway-secret",
  NATS_WORKER_PASSWORD: "worker-secret",
};

const accounts = (t: TestContext) => startTestNats(t, { include: SHIPPED, env: PASSWORDS });
const urlOf = (server: TestNats, role: Role): string =>
  `nats://${role}:${role}-secret@127.0.0.1:${server.port}`;

async function as(t: TestContext, server: TestNats, role: Role): Promise<Nats> {
  const apiPrefix = role === "scheduler" ? {} : { apiPrefix: API };
  const nats = new Nats({ url: urlOf(server, role), name: role, log: silentLog(), ...apiPrefix });
  await nats.start();
  t.after(() => nats.stop());
  return nats;
}

/** What an attacker with the role's password has: a client that sends whatever it likes. */
async function raw(t: TestContext, server: TestNats, role: Role): Promise<NatsConnection> {
  const connection = await connect({
    servers: `127.0.0.1:${server.port}`,
    user: role,
    pass: `${role}-secret`,
  });
  t.after(() => connection.close());
  return connection;
}

/** A scheduler's streams, and its answers to requests, as it would give them. */
async function withStreams(t: TestContext, server: TestNats): Promise<Nats> {
  const owner = await as(t, server, "scheduler");
  await ensureStreams(owner, BOUNDS);
  await owner.ttlBucket(Bucket.leader, 60_000, 1);
  owner.subscribe(Subject.heartbeat, (message) => void message.respond(Buffer.from("answer")));
  const removals = objectRemovals(owner, silentLog());
  await removals.start();
  t.after(() => removals.stop());
  await owner.flush();
  return owner;
}

const KEY_VALUES = `KV_${Bucket.leader}`;
const LEADER_KEY = `$KV.${Bucket.leader}.leader`;

/** Everything that a role may send, each with a reply that it may not: answers are written there, if the server lets them. */
async function replayed(connection: NatsConnection, may: readonly string[], targets: readonly string[]) {
  for (const subject of may) {
    for (const reply of targets) connection.publish(subject, "evil", { reply });
  }
  await connection.flush();
  // An answer of a stream, and that answer stored, take a moment; the control below shows that this is enough.
  await delay(1_000);
}

const WORKER_MAY = [
  Subject.outcomes,
  Subject.heartbeat,
  Subject.progress,
  Subject.jobLog("evil"),
  Subject.objectPart("evil", 0),
  Subject.objectRemoval,
];
const GUEST_API = [`${API}.DIRECT.GET.${Stream.objects}`, `${API}.STREAM.INFO.${Stream.objects}`];
const FORBIDDEN = [
  LEADER_KEY,
  Subject.journal,
  Subject.jobProgress,
  Subject.assignments("w1"),
  `$JS.API.STREAM.PURGE.${Stream.objects}`,
  `$JS.API.STREAM.DELETE.${Stream.logs}`,
];

test("the whole system works with accounts: a killed worker, an export, watches and logs", async (test) => {
  const t = reversed(test);
  const server = await accounts(t as TestContext);
  const index = await startIndexProcess(await tempDir(t));
  t.after(async () => void (await index.kill("SIGKILL")));
  const scheduler = await SchedulerProcess.start(t, {
    natsUrl: urlOf(server, "scheduler"),
    env: { ARRW_INDEX_ADDRESS: index.address, ARRW_LEASE_TIMEOUT_MS: "1000" },
  });
  const guest = { ARRW_NATS_API_PREFIX: API };
  const work = () =>
    startWorkerProcess(t, urlOf(server, "worker"), {
      ...guest,
      ARRW_INDEX_ADDRESS: index.address,
      ARRW_IMPORT_BATCH_CHUNKS: "8",
    });
  const worker = await work();
  const gateway = await startGateway(t, {
    natsUrl: urlOf(server, "gateway"),
    schedulers: [scheduler.address],
    index: index.address,
    env: guest,
  });
  const client = new ArrwClient({ address: gateway.address });
  t.after(() => client.close());

  const { libraryId } = await client.createLibrary({ name: "accounts" });
  const documents = Array.from({ length: 2_000 }, (_, n) => ({ title: `t${n}`, texts: [`text ${n}`] }));
  const { jobId } = await client.importDocuments(libraryId, documents);
  const statuses = new Set<JobStatus>();
  let killed = false;
  for await (const job of client.watch(jobId)) {
    statuses.add(job.status);
    if (killed || (job.progress?.current ?? 0n) === 0n) continue;
    killed = true;
    worker.child.kill("SIGKILL");
    await work();
  }
  assert.ok(killed && statuses.has(JobStatus.JOB_STATUS_COMPLETED), [...statuses].join());
  assert.equal((await client.getLibrary(libraryId)).documentCount, 2_000n);
  const items = [];
  for await (const item of client.jobItems(jobId)) items.push(item);
  assert.equal(items.length, 2_000);
  const lines = [];
  for await (const line of client.jobLogs(jobId)) lines.push(line);
  assert.ok(lines.length > 0);

  const exported = await client.wait((await client.exportLibrary(libraryId, { format: "ndjson" })).jobId);
  assert.equal(exported.status, JobStatus.JOB_STATUS_COMPLETED);
  let bytes = 0;
  for await (const piece of client.downloadExport(exported.jobId)) bytes += piece.data.length;
  assert.ok(bytes > 2_000 * 10, `${bytes}`);
});

test("replies name subjects that a worker or a gateway may not write to: nothing is written there", async (t) => {
  const server = await accounts(t);
  const owner = await withStreams(t, server);
  const heard: string[] = [];
  for (const subject of [Subject.jobProgress, Subject.assignments("w1")]) {
    owner.subscribe(subject, (message) => void heard.push(message.subject));
  }
  await owner.append(Subject.objectPart("victim", 0), Buffer.from("payload"), { timeoutMs: 5_000 });
  await owner.append(Subject.jobLog("victim"), Buffer.from("line"), { timeoutMs: 5_000 });

  const worker = await raw(t, server, "worker");
  await replayed(worker, [...WORKER_MAY, ...GUEST_API], FORBIDDEN);
  const gateway = await raw(t, server, "gateway");
  const gatewayMay = [
    Subject.objectPart("evil", 1),
    Subject.objectRemoval,
    ...GUEST_API,
    `${API}.DIRECT.GET.${Stream.journal}`,
    `${API}.STREAM.INFO.${Stream.logs}`,
  ];
  const forbiddenToGateways = [Subject.outcomes, Subject.progress, Subject.jobLog("evil"), ...FORBIDDEN];
  const outcomes = (await owner.streamInfo(Stream.outcomes)).messages;
  const logs = (await owner.streamInfo(Stream.logs)).messages;
  await replayed(gateway, gatewayMay, forbiddenToGateways);

  assert.equal((await owner.streamInfo(KEY_VALUES)).messages, 0);
  assert.equal((await owner.streamInfo(Stream.journal)).messages, 0);
  assert.deepEqual(heard, []);
  assert.ok(await owner.getMessage(Stream.objects, { lastBySubject: Subject.objectPart("victim", 0) }));
  assert.equal((await owner.streamInfo(Stream.outcomes)).messages, outcomes);
  assert.equal((await owner.streamInfo(Stream.logs)).messages, logs);
});

test("control: in one account, with lists of permissions alone, the same attack writes", async (t) => {
  const conf = join(await tempDir(t), "one-account.conf");
  const may = JSON.stringify([...WORKER_MAY.map((subject) => subject.replace(/evil.*/, ">")), "_INBOX.>"]);
  const users = [
    `{ user: scheduler, password: scheduler-secret }`,
    `{ user: worker, password: worker-secret, permissions: { publish: ${may}, subscribe: ["_INBOX.>"] } }`,
  ];
  await writeFile(conf, `authorization { users: [ ${users.join(", ")} ] }\n`);
  const server = await startTestNats(t, { include: conf });
  const owner = await withStreams(t, server);
  const worker = await raw(t, server, "worker");
  worker.publish(Subject.journal, "straight");
  await worker.flush();
  assert.equal((await owner.streamInfo(Stream.journal)).messages, 0, "the list itself is kept to");

  await replayed(worker, WORKER_MAY, FORBIDDEN);
  assert.ok((await owner.streamInfo(KEY_VALUES)).messages > 0);
  assert.ok((await owner.streamInfo(Stream.journal)).messages > 0);
});

/** The server's answer; undefined = it let nothing through. */
async function asked(connection: NatsConnection, subject: string, body: unknown = "") {
  const data = typeof body === "string" ? body : JSON.stringify(body);
  return connection.request(subject, data, { timeout: 500 }).then(
    (reply) => (reply.headers?.code === 503 ? undefined : reply.string()),
    () => undefined,
  );
}

test("what a role may not do is not done when it asks for it", async (t) => {
  const server = await accounts(t);
  const owner = await withStreams(t, server);
  await owner.append(Subject.journal, Buffer.from("truth"), { timeoutMs: 5_000 });
  await owner.append(Subject.objectPart("j1", 0), Buffer.from("payload"), { timeoutMs: 5_000 });
  await owner.append(Subject.objectPart("j2", 0), Buffer.from("payload"), { timeoutMs: 5_000 });
  const other = await as(t, server, "worker");
  const assigned: string[] = [];
  other.subscribe(Subject.assignments("w1"), ({ data }) => void assigned.push(Buffer.from(data).toString()));
  await other.flush();

  for (const role of ["worker", "gateway"] as const) {
    const connection = await raw(t, server, role);
    const consumer = { stream_name: Stream.journal, config: { deliver_subject: LEADER_KEY } };
    for (const prefix of [API, "$JS.API"]) {
      for (const name of Object.values(Stream)) {
        assert.equal(await asked(connection, `${prefix}.STREAM.PURGE.${name}`), undefined);
        assert.equal(await asked(connection, `${prefix}.STREAM.DELETE.${name}`), undefined);
        assert.equal(await asked(connection, `${prefix}.STREAM.MSG.DELETE.${name}`, { seq: 1 }), undefined);
        const create = `${prefix}.CONSUMER.CREATE.${name}`;
        assert.equal(await asked(connection, create, consumer), undefined);
      }
    }
    assert.equal(await asked(connection, Subject.journal, "lie"), undefined);
    assert.equal(await asked(connection, LEADER_KEY, "me"), undefined);
    connection.publish(Subject.assignments("w1"), "lie");
    connection.publish(Subject.jobProgress, "lie");
    await connection.flush();
    // One object at a time, by name.
    for (const subject of ["arrw.object.>", "arrw.object.*.>", "arrw.journal", ">", ""]) {
      assert.equal(await asked(connection, Subject.objectRemoval, subject), "not one object");
    }
  }
  const gateway = await raw(t, server, "gateway");
  for (const subject of [Subject.outcomes, Subject.heartbeat, Subject.jobLog("j1")]) {
    assert.equal(await asked(gateway, subject, "lie"), undefined);
  }
  const worker = await raw(t, server, "worker");
  assert.equal(await asked(worker, `${API}.DIRECT.GET.${Stream.journal}`, { seq: 1 }), undefined);

  const guest = new JetStreamObjects(await as(t, server, "gateway"));
  await guest.remove("j1");
  assert.deepEqual(Object.keys(await owner.streamSubjects(Stream.objects, ">")), [
    Subject.objectPart("j2", 0),
  ]);
  assert.equal((await owner.streamInfo(Stream.journal)).messages, 1);
  assert.equal((await owner.streamInfo(Stream.outcomes)).messages, 0);
  owner.publish(Subject.assignments("w1"), Buffer.from("from the scheduler"));
  await eventually(() => assigned.length > 0);
  assert.deepEqual(assigned, ["from the scheduler"]);
});

test("a wrong password is refused; without the owner's streams guests wait", async (t) => {
  const server = await accounts(t);
  const url = `nats://worker:wrong@127.0.0.1:${server.port}`;
  await assert.rejects(new Nats({ url, name: "worker", log: silentLog() }).start(), /Authorization/);

  const gateway = await as(t, server, "gateway");
  let made = false;
  const waiting = ensureStreams(gateway, BOUNDS).then(() => {
    made = true;
  });
  await delay(300);
  assert.ok(!made);
  await ensureStreams(await as(t, server, "scheduler"), BOUNDS);
  await waiting;
});

test("TLS: an own authority is believed, others and a server without TLS are not", async (t) => {
  const folder = await tempDir(t);
  const authority = await TestAuthority.create(join(folder, "ours"));
  const foreign = await TestAuthority.create(join(folder, "theirs"));
  const { certFile, keyFile } = await authority.issue({ name: "nats" });
  const conf = join(folder, "tls.conf");
  await writeFile(
    conf,
    `tls { cert_file: ${JSON.stringify(certFile)}, key_file: ${JSON.stringify(keyFile)} }\n`,
  );
  const [secure, plain] = [await startTestNats(t, { include: conf }), await startTestNats(t)];
  const connected = async (url: string, caFile: string): Promise<boolean> => {
    const nats = new Nats({ url, caFile, name: "test", log: silentLog() });
    const started = nats.start().then(
      () => true,
      () => false,
    );
    t.after(() => nats.stop());
    return Promise.race([started, delay(1_500, false)]);
  };
  assert.ok(await connected(secure.url, authority.caFile));
  assert.ok(!(await connected(secure.url, foreign.caFile)));
  assert.ok(!(await connected(plain.url, authority.caFile)));
  assert.ok(!(await connected(plain.url.replace("nats:", "tls:"), "")));
});

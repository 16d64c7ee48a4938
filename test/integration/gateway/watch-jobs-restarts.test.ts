import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { ArrwClient, ClientError, type JobEvent } from "../../../client/index.ts";
import { freePort } from "../../../platform/free-port.ts";
import { eventually } from "../../support/eventually.ts";
import { startGateway } from "../../support/gateway.ts";
import { completed } from "../../support/protocol-worker.ts";
import { journalOf, type SetUp, setUp } from "../scheduler/set-up.ts";

interface System extends SetUp {
  readonly client: ArrwClient;
  /** The gateway stops, and starts again at the same address. */
  restartGateway(): Promise<void>;
}

async function system(test: Parameters<typeof setUp>[0]): Promise<System> {
  const all = await setUp(test);
  const { t, server, scheduler } = all;
  await all.worker({ slots: 20, answer: completed });
  const port = await freePort();
  const start = () => startGateway(t, { natsUrl: server.url, schedulers: [scheduler.address], port });
  let gateway = await start();
  const client = new ArrwClient({ address: gateway.address });
  t.after(() => client.close());
  return {
    ...all,
    client,
    async restartGateway() {
      await gateway.stop();
      gateway = await start();
    },
  };
}

/** Submits one job after the other until `stop`, which gives their ids. */
function submitting(client: ArrwClient) {
  const jobIds: string[] = [];
  let on = true;
  const run = async (): Promise<void> => {
    while (on) {
      const spec = { spec: { $case: "echo" as const, value: { message: "x" } } };
      jobIds.push((await client.submit({ requestId: uuidv7(), spec }, { timeoutMs: 30_000 })).jobId);
    }
  };
  const running = run();
  running.catch(() => undefined);
  return {
    jobIds,
    async stop(): Promise<string[]> {
      on = false;
      await running;
      return jobIds;
    },
  };
}

/** Gathers events until `stop`. */
function gathering(client: ArrwClient, afterCursor: string) {
  const events: JobEvent[] = [];
  const interruptions: ClientError[] = [];
  const abort = new AbortController();
  const run = async (): Promise<void> => {
    try {
      const onInterrupted = (error: ClientError) => interruptions.push(error);
      const options = { afterCursor, signal: abort.signal, onInterrupted };
      for await (const event of client.watchJobs(options)) events.push(event);
    } catch (error) {
      if (!abort.signal.aborted) throw error;
    }
  };
  const running = run();
  running.catch(() => undefined);
  return {
    events,
    interruptions,
    async stop(): Promise<JobEvent[]> {
      abort.abort();
      await running;
      return events;
    },
  };
}

const short = ({ event, job }: JobEvent): string => `${job.jobId} ${job.revision} ${event}`;

test("a list and the watch behind it, under load: no transition is missing in between", async (test) => {
  const { client } = await system(test);
  const load = submitting(client);
  for (let round = 0; round < 8; round++) {
    await eventually(() => load.jobIds.length > 15 * (round + 1));
    const list = await client.list({ pageSize: 1_000 });
    assert.equal(list.nextPageToken, "");
    const known = new Map(list.jobs.map(({ jobId, revision }) => [jobId, revision]));
    const watch = gathering(client, list.cursor);
    await eventually(() => watch.events.length > 20);
    const last = new Map<string, bigint>();
    for (const { job, event } of await watch.stop()) {
      const before = last.get(job.jobId);
      // What came while the list was read is in both, perhaps; a gap is in neither.
      const least = before ?? known.get(job.jobId) ?? 0n;
      if (before === undefined)
        assert.ok(job.revision <= least + 1n, `${event} ${job.revision} after ${least}`);
      else assert.equal(job.revision, before + 1n);
      last.set(job.jobId, job.revision);
    }
  }
  await load.stop();
});

test("over restarts of gateway and scheduler the watch has every transition once, in the journal's order", async (test) => {
  const { client, scheduler, nats, restartGateway } = await system(test);
  const { cursor } = await client.list({ pageSize: 1 });
  const watch = gathering(client, cursor);
  const load = submitting(client);
  await eventually(() => watch.events.length > 30);
  await restartGateway();
  const before = watch.events.length;
  await eventually(() => watch.events.length > before + 30, { timeoutMs: 20_000 });
  await scheduler.restart();
  await restartGateway();
  const then = watch.events.length;
  await eventually(() => watch.events.length > then + 30, { timeoutMs: 20_000 });
  const jobIds = await load.stop();
  await eventually(async () => (await client.stats()).completedJobs === BigInt(jobIds.length));
  const { records } = await journalOf(nats);
  const wanted = records
    .filter(({ event }) => event !== "")
    .map(({ jobId, revision, event }) => `${jobId} ${revision} ${event}`);
  await eventually(() => watch.events.length >= wanted.length);
  assert.deepEqual((await watch.stop()).map(short), wanted);
  assert.ok(watch.interruptions.length >= 2);
  // From the middle on it is the same.
  const [half, at] = [Math.floor(wanted.length / 2), watch.events[Math.floor(wanted.length / 2)]];
  const rest = gathering(client, at?.cursor ?? "");
  await eventually(() => rest.events.length === wanted.length - half - 1);
  assert.deepEqual((await rest.stop()).map(short), wanted.slice(half + 1));
});

test("a cursor that the journal no longer holds ends the client's watch, and names one that it does", async (test) => {
  const { client, nats } = await system(test);
  const load = submitting(client);
  await eventually(() => load.jobIds.length > 20);
  await load.stop();
  const { cursor } = await client.list({ pageSize: 1 });
  const [sequence = 0] = Buffer.from(cursor, "base64url").toString().split(":").slice(1).map(Number);
  await nats.purge("JOURNAL", { below: sequence });
  const old = Buffer.from("1:1").toString("base64url");
  const watching = client.watchJobs({ afterCursor: old, timeoutMs: 10_000 }).next();
  let oldest = "";
  await assert.rejects(watching, (error) => {
    assert.ok(error instanceof ClientError);
    assert.deepEqual([error.code, error.reason], ["OUT_OF_RANGE", "CURSOR_EXPIRED"]);
    oldest = error.metadata.oldest ?? "";
    return true;
  });
  const watch = gathering(client, oldest);
  const spec = { spec: { $case: "echo" as const, value: { message: "x" } } };
  const { jobId } = await client.submit({ spec });
  await eventually(() => watch.events.some(({ job }) => job.jobId === jobId));
  await watch.stop();
});

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { unary } from "../../../platform/grpc/client.ts";
import { type CallContext, GrpcServer, type Handlers, implement } from "../../../platform/grpc/server.ts";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";
import { IndexServiceService } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { SchedulerServiceService } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { eventually } from "../../support/eventually.ts";
import { startGateway } from "../../support/gateway.ts";
import { startTestNats } from "../../support/nats.ts";

const JOB_ID = "0190163d-8694-739b-aea5-966c26f8ad91";

/** Keeps every call until it is given up, and what it knew of it. */
class Holding {
  readonly deadlinesMs: number[] = [];
  givenUp = 0;

  readonly hold = (_request: unknown, { signal, deadlineMs }: CallContext): Promise<never> => {
    this.deadlinesMs.push(deadlineMs);
    return new Promise((_resolve, reject) => {
      const onAbort = (): void => {
        this.givenUp += 1;
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
    });
  };
}

async function setUp(t: TestContext) {
  const held = { scheduler: new Holding(), index: new Holding() };
  const server = new GrpcServer({
    host: "127.0.0.1",
    port: 0,
    services: [
      implement(SchedulerServiceService, {
        submitJobs: async () => ({ results: [] }),
        getJob: held.scheduler.hold,
      } as unknown as Handlers<typeof SchedulerServiceService>),
      implement(IndexServiceService, {
        getLibrary: held.index.hold,
      } as unknown as Handlers<typeof IndexServiceService>),
    ],
    log: silentLog(),
    registry: createRegistry("test"),
    maxReceiveBytes: 1_000_000,
    defaultTimeoutMs: 60_000,
  });
  await server.start();
  t.after(() => server.stop());
  const nats = await startTestNats(t);
  const address = `127.0.0.1:${server.port}`;
  const env = { ARRW_REQUEST_TIMEOUT_MS: "20000" };
  const gateway = await startGateway(t, { natsUrl: nats.url, schedulers: [address], index: address, env });
  return { gateway, held };
}

test("what is left of a deadline goes along, and when it has passed the call behind is given up", async (t) => {
  const { gateway, held } = await setUp(t);
  const { jobs, libraries } = gateway;
  const deadlineMs = Date.now() + 1_500;
  const refusals = await Promise.allSettled([
    unary(jobs, jobs.getJob, { jobId: JOB_ID }, { deadlineMs }),
    unary(libraries, libraries.getLibrary, { libraryId: "notes" }, { deadlineMs }),
  ]);
  for (const { status } of refusals) assert.equal(status, "rejected");
  for (const [name, { deadlinesMs, givenUp }] of Object.entries(held)) {
    assert.ok(deadlinesMs.length > 0, name);
    // Timeouts travel as what is left, in whole milliseconds, and take a moment.
    for (const each of deadlinesMs)
      assert.ok(each <= deadlineMs + 100, `${name}: ${each - deadlineMs} ms later`);
    await eventually(() => held[name as keyof typeof held].givenUp === deadlinesMs.length);
    assert.ok(givenUp <= deadlinesMs.length);
  }
});

test("a call that its client cancels is given up behind the gateway, too", async (t) => {
  const { gateway, held } = await setUp(t);
  const { jobs } = gateway;
  const abort = new AbortController();
  const call = unary(jobs, jobs.getJob, { jobId: JOB_ID }, { timeoutMs: 15_000, signal: abort.signal });
  const refused = assert.rejects(call);
  await eventually(() => held.scheduler.deadlinesMs.length > 0);
  assert.equal(held.scheduler.givenUp, 0);
  abort.abort();
  await refused;
  await eventually(() => held.scheduler.givenUp === held.scheduler.deadlinesMs.length);
});

test("a call without a deadline has the gateway's", async (t) => {
  const { gateway, held } = await setUp(t);
  const beganMs = Date.now();
  const call = gateway.jobs.getJob({ jobId: JOB_ID }, () => undefined);
  await eventually(() => held.scheduler.deadlinesMs.length > 0);
  call.cancel();
  const leftMs = (held.scheduler.deadlinesMs[0] ?? 0) - beganMs;
  assert.ok(leftMs > 10_000 && leftMs <= 20_100, `${leftMs} ms`);
});

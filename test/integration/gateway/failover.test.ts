import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { toArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import { ListJobsRequest, SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { type StartedGateway, startGateway } from "../../support/gateway.ts";
import { startTestNats } from "../../support/nats.ts";
import { reversed } from "../../support/reversed.ts";
import { SchedulerProcess } from "../../support/scheduler-process.ts";
import type { Cleanup } from "../../support/temp.ts";

/** Of the election, its deadline of 6 s included. */
const TAKEOVER_MS = 8_000;

interface Pair {
  readonly leader: SchedulerProcess;
  readonly standby: SchedulerProcess;
  readonly gateway: StartedGateway;
}

async function pair(test: Cleanup): Promise<Pair> {
  const t = reversed(test);
  const { url } = await startTestNats(t);
  const leader = await SchedulerProcess.start(t, { natsUrl: url });
  const standby = await SchedulerProcess.start(t, { natsUrl: url, standby: true });
  const schedulers = [standby.address, leader.address];
  return { leader, standby, gateway: await startGateway(t, { natsUrl: url, schedulers }) };
}

/** Clients that submit one job after the other, from now until `stop`, which gives the ids of all jobs. */
function submitting({ jobs }: StartedGateway, clients: number) {
  const requestIds: string[] = [];
  const jobIds: string[] = [];
  let longestMs = 0;
  let on = true;
  const run = async (): Promise<void> => {
    while (on) {
      const requestId = uuidv7();
      const spec = { spec: { $case: "echo" as const, value: { message: "x" } } };
      const request = SubmitJobRequest.fromPartial({ requestId, spec });
      const startedAt = performance.now();
      const { job } = await unary(jobs, jobs.submitJob, request, { timeoutMs: 20_000 });
      longestMs = Math.max(longestMs, performance.now() - startedAt);
      assert.equal(job?.requestId, requestId);
      requestIds.push(requestId);
      jobIds.push(job.jobId);
    }
  };
  const running = Promise.all(Array.from({ length: clients }, run));
  running.catch(() => undefined);
  return {
    jobIds,
    async stop() {
      on = false;
      await running;
      assert.equal(new Set(jobIds).size, jobIds.length);
      return { requestIds, jobIds, longestMs };
    },
  };
}

async function listed({ jobs }: StartedGateway): Promise<{ jobIds: string[]; requestIds: string[] }> {
  const all: { jobId: string; requestId: string }[] = [];
  let pageToken = "";
  do {
    const request = ListJobsRequest.fromPartial({ pageSize: 1_000, pageToken });
    const page = await unary(jobs, jobs.listJobs, request, { timeoutMs: 10_000 });
    all.push(...page.jobs);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return { jobIds: all.map(({ jobId }) => jobId), requestIds: all.map(({ requestId }) => requestId) };
}

for (const signal of ["SIGKILL", "SIGSTOP", "SIGTERM"] as const) {
  test(`${signal} of the leader while submits go on: all are answered by the next one, none is lost or doubled`, async (t) => {
    const { leader, standby, gateway } = await pair(t);
    const load = submitting(gateway, 8);
    await eventually(() => load.jobIds.length > 50);
    leader.signal(signal);
    const stoppedAt = performance.now();
    await standby.leads();
    const electedMs = performance.now() - stoppedAt;
    const before = load.jobIds.length;
    await eventually(() => load.jobIds.length > before + 50);
    if (signal === "SIGSTOP") {
      leader.signal("SIGCONT");
      // It is refused, and names the one that leads.
      const asked = unary(leader.client, leader.client.submitJobs, { submissions: [] }, { timeoutMs: 5_000 });
      await assert.rejects(asked, (error) => toArrwError(error).reason === "NOT_LEADING");
    }
    const { requestIds, jobIds, longestMs } = await load.stop();
    const kept = await listed(gateway);
    assert.deepEqual(kept.jobIds.sort(), jobIds.sort());
    assert.deepEqual(kept.requestIds.sort(), requestIds.sort());
    assert.ok(longestMs < electedMs + 1_500, `${longestMs} ms, the election took ${electedMs} ms`);
    assert.ok(electedMs < TAKEOVER_MS, `${electedMs} ms`);
    t.diagnostic(`election ${Math.round(electedMs)} ms, slowest submit ${Math.round(longestMs)} ms`);
  });
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { freePort } from "../../../platform/free-port.ts";
import { unary } from "../../../platform/grpc/client.ts";
import { JobStatus, SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeScheduler } from "../../support/fake-scheduler.ts";
import { startTestGateway } from "../../support/gateway.ts";

const CALL = { timeoutMs: 10_000 };
const request = (): SubmitJobRequest =>
  SubmitJobRequest.fromPartial({
    requestId: uuidv7(),
    spec: { spec: { $case: "echo", value: { message: "x" } } },
  });

test("calls go to the leader that a standby names, also to one that no setting names", async (t) => {
  const known = await new FakeScheduler().start(t);
  const unknown = await new FakeScheduler().start(t);
  const { jobs, scheduler } = await startTestGateway(t, [known.address]);
  scheduler.follows = { leader: unknown.address };
  known.follows = { leader: unknown.address };
  await unary(jobs, jobs.submitJob, request(), CALL);
  assert.equal(unknown.submissions.length, 1);
  // Another leads: the first call that is refused finds it.
  unknown.follows = { leader: known.address };
  known.follows = undefined;
  await Promise.all(Array.from({ length: 50 }, () => unary(jobs, jobs.submitJob, request(), CALL)));
  assert.equal(known.submissions.length, 50);
  assert.deepEqual([scheduler.submissions.length, unknown.submissions.length], [0, 1]);
});

test("a leader that is gone: calls are repeated at the next one as soon as it leads, and share the search", async (t) => {
  const standby = await new FakeScheduler().start(t);
  const { jobs, scheduler } = await startTestGateway(t, [standby.address]);
  standby.follows = { leader: scheduler.address };
  await unary(jobs, jobs.submitJob, request(), CALL);
  await scheduler.crash();
  const asked = standby.asked;
  const startedAt = performance.now();
  let leadsAt = 0;
  const waiting = Array.from({ length: 100 }, () => unary(jobs, jobs.submitJob, request(), CALL));
  await eventually(() => standby.asked > asked + 5);
  standby.follows = undefined;
  leadsAt = performance.now();
  await Promise.all(waiting);
  const endedAt = performance.now();
  assert.equal(standby.submissions.length, 100);
  assert.ok(endedAt - leadsAt < 1_000, `${endedAt - leadsAt} ms after the election`);
  const rounds = (endedAt - startedAt) / 75 + 2;
  assert.ok(standby.asked - asked <= rounds, `${standby.asked - asked} questions for 100 calls`);
});

test("a leader that is frozen: its calls move to the one that leads instead", async (t) => {
  const standby = await new FakeScheduler().start(t);
  const { jobs, scheduler } = await startTestGateway(t, [standby.address]);
  standby.follows = { leader: scheduler.address };
  await unary(jobs, jobs.submitJob, request(), CALL);
  let thaw: () => void = () => undefined;
  scheduler.frozen = new Promise((resolve) => (thaw = resolve));
  const waiting = Array.from({ length: 10 }, () => unary(jobs, jobs.submitJob, request(), CALL));
  await eventually(() => standby.asked > 1);
  assert.equal(standby.submissions.length, 0);
  standby.follows = undefined;
  await Promise.all(waiting);
  assert.equal(standby.submissions.length, 10);
  thaw();
});

test("a call that takes long at a leader that answers stays there", async (t) => {
  const standby = await new FakeScheduler().start(t);
  const { jobs, scheduler } = await startTestGateway(t, [standby.address]);
  standby.follows = { leader: scheduler.address };
  let calls = 0;
  let release: () => void = () => undefined;
  scheduler.beforeSubmit = () => {
    calls += 1;
    return new Promise((resolve) => (release = resolve));
  };
  const running = unary(jobs, jobs.submitJob, request(), CALL);
  // Asked once to find it, then because the call takes long.
  await eventually(() => scheduler.asked >= 4);
  release();
  await running;
  assert.equal(calls, 1);
});

test("without a leader a standby answers reads, and writes end with UNAVAILABLE", async (t) => {
  const standby = await new FakeScheduler().start(t);
  const { jobs, scheduler } = await startTestGateway(t, [standby.address]);
  await scheduler.move("j", { status: JobStatus.JOB_STATUS_RUNNING });
  await standby.move("j", { status: JobStatus.JOB_STATUS_PENDING });
  await scheduler.crash();
  standby.follows = { leader: "" };
  const { job } = await unary(jobs, jobs.getJob, { jobId: "j" }, CALL);
  assert.equal(job?.status, JobStatus.JOB_STATUS_PENDING);
  const submit = unary(jobs, jobs.submitJob, request(), { timeoutMs: 600 });
  await assert.rejects(submit, { code: "UNAVAILABLE", reason: "UNAVAILABLE", metadata: {} });
});

test("standbys that name each other, or nobody who answers, end in UNAVAILABLE", async (t) => {
  const standby = await new FakeScheduler().start(t);
  const { jobs, scheduler } = await startTestGateway(t, [standby.address]);
  scheduler.follows = { leader: standby.address };
  standby.follows = { leader: scheduler.address };
  const startedAt = performance.now();
  const submit = () => unary(jobs, jobs.submitJob, request(), { timeoutMs: 600 });
  await assert.rejects(submit(), { code: "UNAVAILABLE" });
  assert.ok(performance.now() - startedAt < 900);
  assert.ok(scheduler.asked < 12, `${scheduler.asked} questions`);
  standby.follows = { leader: `127.0.0.1:${await freePort()}` };
  await assert.rejects(submit(), { code: "UNAVAILABLE" });
  scheduler.follows = undefined;
  await unary(jobs, jobs.submitJob, request(), CALL);
});

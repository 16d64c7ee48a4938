import assert from "node:assert/strict";
import { test } from "node:test";
import { Metadata } from "@grpc/grpc-js";
import { serverStream, unary } from "../../../platform/grpc/client.ts";
import { ListJobsRequest, WatchJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { bearer, KeyFile } from "../../support/credentials.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import { tempDir } from "../../support/temp.ts";

type Refusal = { code: string; reason: string; retryAfterMs?: number };

const list = ({ jobs }: TestGateway, metadata = new Metadata()) =>
  unary(jobs, jobs.listJobs, ListJobsRequest.fromPartial({}), { timeoutMs: 5_000, metadata });

function refused(reason: string) {
  return (error: Refusal): boolean => {
    assert.deepEqual([error.code, error.reason], ["RESOURCE_EXHAUSTED", reason]);
    assert.ok((error.retryAfterMs ?? 0) > 0, `try again in ${error.retryAfterMs} ms`);
    return true;
  };
}

test("each client has a rate of its own; who waits as long as told gets in", async (t) => {
  const keys = new KeyFile(await tempDir(t));
  await keys.add("a", { role: "viewer" });
  await keys.add("b", { role: "viewer" });
  const gateway = await startTestGateway(t, [], {
    ARRW_API_KEYS_FILE: keys.path,
    ARRW_CLIENT_REQUESTS_PER_SECOND: "2",
  });
  const [a, b] = ["a", "b"].map((name) => bearer(keys.key(name)));
  const calls = await Promise.allSettled(Array.from({ length: 20 }, () => list(gateway, a)));
  const failures = calls.flatMap((call) => (call.status === "rejected" ? [call.reason as Refusal] : []));
  // A bucket of 4, and what came in meanwhile.
  assert.ok(failures.length >= 10 && failures.length <= 16, `${failures.length} of 20 refused`);
  for (const failure of failures) refused("RATE_LIMITED")(failure);
  await list(gateway, b);
  await eventually(() => list(gateway, a), { intervalMs: failures[0]?.retryAfterMs ?? 500 });
  const metrics = await (
    await fetch(`${gateway.probes}/metrics`, { headers: { "x-api-key": keys.key("b") } })
  ).text();
  assert.match(metrics, /arrw_gateway_refused_total\{reason="RATE_LIMITED",service="gateway"\} \d+/);
});

test("requests and streams under way are bounded, each for itself, and make room when they end", async (t) => {
  const gateway = await startTestGateway(t, [], {
    ARRW_CLIENT_MAX_REQUESTS: "2",
    ARRW_CLIENT_MAX_STREAMS: "2",
  });
  const { jobs, scheduler } = gateway;
  let thaw: () => void = () => undefined;
  scheduler.frozen = new Promise((resolve) => {
    thaw = resolve;
  });
  const pending = [list(gateway), list(gateway)];
  await eventually(async () => {
    await assert.rejects(list(gateway), refused("TOO_MANY_REQUESTS"));
    return true;
  });
  thaw();
  scheduler.frozen = undefined;
  await Promise.all(pending);
  await list(gateway);

  await scheduler.move("job-1", {});
  const stop = new AbortController();
  const watch = (signal: AbortSignal) =>
    serverStream(jobs, jobs.watchJob, WatchJobRequest.fromPartial({ jobId: "job-1" }), {
      timeoutMs: 20_000,
      signal,
    })[Symbol.asyncIterator]();
  const open = [watch(stop.signal), watch(stop.signal)];
  for (const each of open) assert.ok(!(await each.next()).done);
  const third = new AbortController();
  await assert.rejects(watch(third.signal).next(), refused("TOO_MANY_STREAMS"));
  await list(gateway);
  stop.abort();
  await eventually(async () => !(await watch(third.signal).next()).done);
  third.abort();
});

test("who guesses is soon answered without a look, and keeps nobody else out", async (t) => {
  const keys = new KeyFile(await tempDir(t));
  await keys.add("a", { role: "viewer" });
  const gateway = await startTestGateway(t, [], { ARRW_API_KEYS_FILE: keys.path });
  const guesses = await Promise.allSettled(
    Array.from({ length: 100 }, (_, n) => list(gateway, bearer(`arrw_guess-${n}`))),
  );
  const reasons = guesses.map((guess) =>
    guess.status === "rejected" ? (guess.reason as Refusal).reason : "in",
  );
  const invalid = reasons.filter((reason) => reason === "CREDENTIALS_INVALID").length;
  assert.ok(invalid >= 20 && invalid < 50, `${invalid} of 100 were looked at`);
  assert.equal(reasons.filter((reason) => reason === "RATE_LIMITED").length, 100 - invalid);
  await list(gateway, bearer(keys.key("a")));
});

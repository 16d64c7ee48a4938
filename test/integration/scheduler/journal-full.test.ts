import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode } from "../../../platform/errors.ts";
import { freePort } from "../../../platform/free-port.ts";
import { Stream } from "../../../platform/nats/names.ts";
import type { Submission } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { eventually } from "../../support/eventually.ts";
import { completed } from "../../support/protocol-worker.ts";
import { COMPLETED, echo, setUp } from "./set-up.ts";

const MAX_BYTES = 16 * 1024 * 1024;

/** An echo job whose record has about 16 KB. */
function largeEcho(): Submission {
  const submission = echo();
  const spec = submission.request?.spec?.spec;
  if (spec?.$case === "echo") spec.value.message = "x".repeat(16_000);
  return submission;
}

test("a journal full of waiting jobs refuses submits, survives its stream's limit, and recovers as they end", async (test) => {
  const httpPort = await freePort();
  const { scheduler, nats, worker } = await setUp(test, {
    ARRW_JOURNAL_MAX_BYTES: String(MAX_BYTES),
    ARRW_SCHEDULER_HTTP_PORT: String(httpPort),
  });
  const accepted: string[] = [];
  const submit = async (): Promise<number | undefined> => {
    const [result] = await scheduler.submitAll([largeEcho()]);
    if (result?.outcome?.$case === "error") return result.outcome.value.code;
    if (result?.outcome?.$case === "job") accepted.push(result.outcome.value.jobId);
    return undefined;
  };
  const readiness = async (): Promise<string> => {
    const reply = await fetch(`http://127.0.0.1:${httpPort}/readyz`);
    return `${reply.status} ${await reply.text()}`;
  };
  const bytes = async (): Promise<number> => (await nats.streamInfo(Stream.journal)).bytes;
  let refused: number | undefined;
  while (refused === undefined && accepted.length < 2_000) refused = await submit();
  assert.equal(refused, ErrorCode.RESOURCE_EXHAUSTED);
  assert.ok((await bytes()) > 0.8 * MAX_BYTES && (await bytes()) < 1.1 * MAX_BYTES, `${await bytes()} bytes`);
  assert.match(await readiness(), /^503 .*journal is near its bound/s);

  // The stream takes nothing any more, not even what would make it smaller.
  await nats.setMaxBytes(Stream.journal, MAX_BYTES / 4);
  await assert.rejects(scheduler.cancel(accepted[0] ?? ""), { code: "UNAVAILABLE" });
  await scheduler.leads();
  assert.match(await readiness(), /^503 .*journal is near its bound/s);
  assert.equal((await scheduler.stats()).pendingJobs, BigInt(accepted.length), "no acknowledged job is lost");
  assert.equal(await submit(), ErrorCode.RESOURCE_EXHAUSTED);
  assert.equal(scheduler.lines.filter((line) => line.includes("its limit is raised")).length, 1);

  // What workers report is taken up all the same; ended jobs make room.
  const ids = [...accepted];
  await worker({ slots: 50, answer: completed });
  await scheduler.reaches(ids.at(-1) ?? "", COMPLETED, 30_000);
  await eventually(async () => (await submit()) === undefined, {
    timeoutMs: 15_000,
    what: "a submit is accepted",
  });
  await eventually(async () => (await readiness()).startsWith("200"), { what: "it is ready" });
  await scheduler.reaches(accepted.at(-1) ?? "", COMPLETED);
  const { completedJobs, totalJobs } = await scheduler.stats();
  assert.equal(completedJobs, totalJobs);
  assert.ok(totalJobs > 0n && totalJobs <= BigInt(accepted.length));
  await eventually(async () => (await bytes()) < 0.8 * MAX_BYTES);
});

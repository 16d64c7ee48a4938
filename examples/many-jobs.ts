/**
 * Submits many jobs in one call, finds them again by label, cancels the one that takes too long. Run it beside
 * `npm start`:
 *
 *     npx tsx examples/many-jobs.ts
 */
import { ArrwClient, JobStatus } from "../client/index.ts";

const client = new ArrwClient({ address: process.env.ARRW_ADDRESS ?? "127.0.0.1:50051" });
const run = `run-${Date.now()}`;

try {
  const results = await client.submitAll(
    Array.from({ length: 100 }, (_, i) => ({
      // Submitting again with the same keys makes no second job.
      requestId: `${run}-${i}`,
      labels: { run },
      spec: { spec: { $case: "echo" as const, value: { message: `hello ${i}` } } },
    })),
  );
  const ids = results.flatMap(({ outcome }) => (outcome?.$case === "job" ? [outcome.value.jobId] : []));
  const ended = await Promise.all(ids.map((id) => client.wait(id)));
  const completed = ended.filter(({ status }) => status === JobStatus.JOB_STATUS_COMPLETED);
  console.log(`${completed.length} of ${results.length} jobs completed`);

  let listed = 0;
  for await (const job of client.jobs({ labels: { run } })) if (job.labels.run === run) listed += 1;
  console.log(`${listed} jobs are labelled ${run}`);

  const slow = await client.submit({
    labels: { run },
    spec: { spec: { $case: "echo", value: { message: "slow", sleep: { seconds: 600n }, steps: 600 } } },
  });
  await client.cancel(slow.jobId, { reason: "it takes too long" });
  const { status } = await client.wait(slow.jobId);
  console.log(`the slow one was cancelled: ${status === JobStatus.JOB_STATUS_CANCELLED}`);
} finally {
  client.close();
}

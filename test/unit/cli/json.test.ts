import assert from "node:assert/strict";
import { test } from "node:test";
import { toJson } from "../../../cli/json.ts";
import { Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { Hit } from "../../../proto/gen/arrwdb/v1/libraries.ts";

test("a job as JSON: the contract's names, numbers, RFC 3339, the oneofs without wrapping", () => {
  const job = Job.fromPartial({
    jobId: "j",
    status: 4,
    spec: { spec: { $case: "batchImport", value: { chunkSize: 300 } } },
    progress: { current: 5n, total: 10n, percentage: 50 },
    createdAt: new Date(0),
    executionTimeout: { seconds: 1n, nanos: 500_000_000 },
    labels: { camelCase: "1" },
    itemCount: 9_007_199_254_740_991n,
  });
  const json = toJson(job) as Record<string, unknown>;
  assert.equal(json.job_id, "j");
  assert.equal(json.status, "RUNNING");
  assert.deepEqual(json.spec, { batch_import: { documents: [], chunk_size: 300 } });
  assert.deepEqual(json.progress, { current: 5, total: 10, message: "", percentage: 50 });
  assert.equal(json.created_at, "1970-01-01T00:00:00.000Z");
  assert.equal(json.execution_timeout, "1.5s");
  assert.deepEqual(json.labels, { camelCase: "1" });
  assert.equal(json.item_count, 9_007_199_254_740_991);
  assert.ok(!("completed_at" in json));
});

test("metadata stays as it is", () => {
  const metadata = { someKey: { $case: "x", value: [1, null, true] } };
  assert.deepEqual((toJson(Hit.fromPartial({ metadata })) as Record<string, unknown>).metadata, metadata);
});

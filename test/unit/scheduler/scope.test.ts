import assert from "node:assert/strict";
import { test } from "node:test";
import { JobState as JobStateMessage } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { limitsOf } from "../../../services/scheduler/domain/limits.ts";
import { requestKeyOf } from "../../../services/scheduler/domain/scope.ts";

test("request_ids and concurrency_keys of different scopes don't meet", () => {
  const job = Job.fromPartial({ requestId: "r", concurrencyKey: "k", concurrencyLimit: 2, type: "echo" });
  const keys = ["", "one", "two"].map((scope) => {
    const state = { ...JobStateMessage.fromPartial({ scope }), job };
    return [requestKeyOf(state), limitsOf(state)[0]?.key, limitsOf(state)[0]?.atMost];
  });
  assert.deepEqual(keys, [
    ["r", "key/k", 2],
    ["one/r", "key/one/k", 2],
    ["two/r", "key/two/k", 2],
  ]);
  assert.equal(requestKeyOf({ scope: "one", job: Job.fromPartial({}) }), undefined);
});

test("exclusive jobs of a library wait for each other, whoever submits them", () => {
  const job = Job.fromPartial({ type: "index_rebuild", libraryId: "l" });
  const [one, two] = ["one", "two"].map((scope) => limitsOf({ scope, job }).map(({ key }) => key));
  assert.deepEqual(one, ["library/l"]);
  assert.deepEqual(two, one);
});

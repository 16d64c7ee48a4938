import assert from "node:assert/strict";
import { test } from "node:test";
import { unavailable } from "../../../platform/errors.ts";
import { ChangeJobsRequest } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { type Change, changeJobs, type ListPage } from "../../../services/scheduler/job-changes.ts";
import type { Term } from "../../../services/scheduler/term.ts";
import { states } from "./states.ts";

const job = states.FAILED.job;

function setUp() {
  const changed: string[] = [];
  const table = {
    active: 0,
    transition: (jobId: string, _: Change) => {
      changed.push(jobId);
      return { accepted: true, entry: { jobId, batch: undefined } };
    },
  };
  const term = { table, retention: { full: false }, backlogBytes: 0, dispatcher: { run: () => undefined } };
  return { changed, term: term as unknown as Term };
}

const request = ChangeJobsRequest.fromPartial({
  filter: { labels: { a: "b" } },
  limit: 1_000,
  change: { $case: "retry", value: { fromCheckpoint: false } },
} as never);

const page = (...jobIds: string[]) => ({
  jobs: jobIds.map((jobId) => ({ ...job, jobId })),
  nextPageToken: "more",
});

test("what was changed is told when the leader steps down in between: a repeat would change it again", async () => {
  const { term, changed } = setUp();
  let calls = 0;
  const list: ListPage = async () => {
    calls += 1;
    if (calls > 1) throw unavailable("this scheduler does not lead", { reason: "NOT_LEADING" });
    return page("1", "2");
  };
  const reply = await changeJobs(term, request, { list, maxActiveJobs: 100, isTimeUp: () => false });
  assert.deepEqual(reply, { changedJobs: 2n, skippedJobs: 0n, hasMore: true });
  assert.deepEqual(changed, ["1", "2"]);
});

test("before anything was changed the error is the answer", async () => {
  const { term } = setUp();
  const list: ListPage = async () => {
    throw unavailable("this scheduler does not lead", { reason: "NOT_LEADING" });
  };
  const options = { list, maxActiveJobs: 100, isTimeUp: () => false };
  await assert.rejects(changeJobs(term, request, options), { reason: "NOT_LEADING" });
});

test("time that is up ends it between two pages", async () => {
  const { term } = setUp();
  let pages = 0;
  const list: ListPage = async () => {
    pages += 1;
    return page(String(pages));
  };
  const reply = await changeJobs(term, request, { list, maxActiveJobs: 100, isTimeUp: () => pages >= 3 });
  assert.deepEqual(reply, { changedJobs: 3n, skippedJobs: 0n, hasMore: true });
});

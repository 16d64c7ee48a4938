import assert from "node:assert/strict";
import { test } from "node:test";
import { type JobFilter, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { jobMatches } from "../../../services/scheduler/row-filter.ts";
import type { JobStore } from "../../../services/scheduler/store.ts";
import { reversed } from "../../support/reversed.ts";
import { filter, id, openStore } from "./open-store.ts";

async function pagesOf(store: JobStore, by: JobFilter | undefined, size: number): Promise<string[][]> {
  const pages: string[][] = [];
  let token = "";
  do {
    const page = await store.list(by, size, token);
    pages.push(page.jobs.map(({ jobId }) => jobId));
    token = page.nextPageToken;
  } while (token !== "" && pages.length < 1_000);
  return pages;
}

test("pages merge all groups newest first, each job once, for every page size", async (test) => {
  const { state, write, flush, reopen } = await openStore(reversed(test));
  const { JOB_STATUS_PENDING, JOB_STATUS_COMPLETED } = JobStatus;
  for (let n = 0; n < 200; n++) {
    write(id((n * 77) % 200), {
      status: n % 3 === 0 ? JOB_STATUS_PENDING : JOB_STATUS_COMPLETED,
      type: n % 2 === 0 ? "echo" : "batch_import",
      libraryId: n % 5 === 0 ? "" : `library-${n % 4}`,
    });
  }
  await flush();
  const newestFirst = Array.from({ length: 200 }, (_, n) => id(199 - n));
  for (const size of [1, 7, 16, 17, 200, 1_000]) {
    const pages = await pagesOf(state.store, undefined, size);
    assert.deepEqual(pages.flat(), newestFirst);
    assert.ok(pages.every((page) => page.length <= size));
  }
  const all = newestFirst.map((jobId) => state.store.get(jobId)?.state.job);
  for (const by of [
    filter({ statuses: [JOB_STATUS_PENDING] }),
    filter({ types: ["echo"], libraryId: "library-2" }),
    filter({ libraryId: "nowhere" }),
  ]) {
    const expected = all.filter(
      (job) =>
        job &&
        (by.statuses.length === 0 || by.statuses.includes(job.status)) &&
        (by.types.length === 0 || by.types.includes(job.type)) &&
        (by.libraryId === "" || by.libraryId === job.libraryId),
    );
    assert.deepEqual(
      (await pagesOf(state.store, by, 9)).flat(),
      expected.map((job) => job?.jobId),
    );
    assert.equal((await state.store.list(by, 1, "")).totalSize, expected.length);
  }
  await reopen();
  assert.deepEqual((await pagesOf(state.store, undefined, 50)).flat(), newestFirst);
  assert.equal((await state.store.list(undefined, 1, "")).totalSize, 200);
});

test("those who see some libraries get the jobs of these, and of several that they all see, with their number", async (test) => {
  const { state, write, flush, reopen } = await openStore(reversed(test));
  const several = [["a-1", "a-2"], ["a-1", "b"], ["c"], []];
  for (let n = 0; n < 120; n++) {
    const one = { libraryId: ["a-1", "a-2", "b", "ab", ""][n % 5] ?? "" };
    const fields = n % 10 === 7 ? { libraryIds: several[Math.floor(n / 10) % 4] ?? [] } : one;
    write(id((n * 77) % 120), {
      ...fields,
      type: n % 2 === 0 ? "echo" : "batch_delete",
      labels: { n: String(n % 3) },
    });
    if (n === 80) await flush();
  }
  const newestFirst = Array.from({ length: 120 }, (_, n) => id(119 - n));
  const seen = [["a-*"], ["a-1"], ["b", "a-1"], ["a-*", "a-1", "c"], ["*"], [""], ["nowhere", "zz*"]];
  const filters = [
    {},
    { types: ["echo"] },
    { types: ["batch_delete"] },
    { libraryId: "a-1" },
    { libraryId: "b" },
    { libraryId: "," },
    { labels: { n: "1" } },
    { labels: { n: "1" }, libraryId: "a-2", types: ["echo"] },
  ];
  const check = async (): Promise<void> => {
    const jobs = newestFirst.flatMap((jobId) => state.store.get(jobId)?.state.job ?? []);
    for (const visibleLibraries of seen) {
      for (const by of filters) {
        const selection = { ...filter(by), visibleLibraries };
        const expected = jobs.filter((job) => jobMatches(job, selection)).map(({ jobId }) => jobId);
        assert.deepEqual((await pagesOf(state.store, selection, 40)).flat(), expected);
        const { totalSize } = await state.store.list(selection, 1, "");
        assert.equal(totalSize, expected.length, JSON.stringify(selection));
      }
    }
  };
  await check();
  await flush();
  await check();
  await reopen();
  assert.equal((await state.store.list({ ...filter({}), visibleLibraries: ["a-*"] }, 1, "")).totalSize, 51);
  assert.deepEqual((await pagesOf(state.store, filter({ libraryId: "," }), 50)).flat(), []);
  assert.equal((await state.store.list(undefined, 1, "")).totalSize, 120);
});

test("labels and times select and are counted; created_after is inclusive, created_before is not", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  for (let n = 0; n < 10; n++) {
    write(id(n), {
      createdAt: new Date(1_000 * n),
      labels: { parity: n % 2 === 0 ? "even" : "odd", n: String(n) },
    });
  }
  await flush();
  const ids = async (by: Partial<JobFilter>): Promise<string[]> =>
    (await pagesOf(state.store, filter(by), 3)).flat();
  assert.deepEqual(await ids({ labels: { parity: "even" } }), [8, 6, 4, 2, 0].map(id));
  assert.deepEqual(await ids({ labels: { parity: "even", n: "3" } }), []);
  const between = { createdAfter: new Date(3_000), createdBefore: new Date(6_000) };
  assert.deepEqual(await ids(between), [5, 4, 3].map(id));
  assert.equal((await state.store.list(filter(between), 5, "")).totalSize, 3);
});

test("a token of another list, or of nobody, is refused", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  for (let n = 0; n < 5; n++) write(id(n), {});
  await flush();
  const { nextPageToken } = await state.store.list(undefined, 2, "");
  const bad = [nextPageToken.slice(1), "x", "\u0000", Buffer.from("[1,2,3]").toString("base64url"), "e30"];
  for (const token of bad) {
    await assert.rejects(state.store.list(undefined, 2, token), { code: "INVALID_ARGUMENT" });
  }
  const other = filter({ types: ["echo"] });
  await assert.rejects(state.store.list(other, 2, nextPageToken), { code: "INVALID_ARGUMENT" });
  assert.deepEqual(
    (await state.store.list(undefined, 2, nextPageToken)).jobs.map(({ jobId }) => jobId),
    [id(2), id(1)],
  );
});

test("a list shows no job that has left the filter since the last flush, and misses none that moved", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  const { JOB_STATUS_PENDING: pending, JOB_STATUS_COMPLETED: completed } = JobStatus;
  for (let n = 0; n < 3; n++) write(id(n), { status: pending });
  await flush();
  for (let n = 0; n < 3; n++) write(id(n), { status: completed });
  assert.deepEqual((await pagesOf(state.store, filter({ statuses: [pending] }), 10)).flat(), []);
  assert.deepEqual((await pagesOf(state.store, undefined, 10)).flat(), [id(2), id(1), id(0)]);
  assert.equal((await state.store.list(filter({ statuses: [completed] }), 10, "")).totalSize, 3);
});

test("an id or request_id taken again after a deletion leaves nothing of the old job behind", async (test) => {
  const { state, write, flush, reopen } = await openStore(reversed(test));
  write(id(1), { libraryId: "old", requestId: "r" });
  write(id(2), { requestId: "s" });
  await flush();
  write(id(1), undefined);
  write(id(1), { libraryId: "new", requestId: "r" });
  write(id(2), undefined);
  write(id(3), { requestId: "s" });
  await flush();
  await reopen();
  assert.equal((await state.store.list(filter({ libraryId: "old" }), 10, "")).totalSize, 0);
  assert.deepEqual((await pagesOf(state.store, undefined, 10)).flat(), [id(3), id(1)]);
  assert.deepEqual([state.store.jobIdOfRequest("r"), state.store.jobIdOfRequest("s")], [id(1), id(3)]);
  const { liveBytes } = state.store;
  write(id(1), undefined);
  write(id(3), undefined);
  await flush();
  assert.ok(liveBytes > 0);
  assert.equal(state.store.liveBytes, 0);
  assert.deepEqual(state.store.oldestEnded(10, Date.now()), []);
});

test("an id that no job can have is not found", async (test) => {
  const { state } = await openStore(reversed(test));
  for (const jobId of ["", "\u0000", "x".repeat(200), "x".repeat(100_000), "\u{10ffff}".repeat(100)]) {
    assert.equal(state.store.get(jobId), undefined);
  }
});

test("how far it goes moves on without rows too, and is what a reopened store says", async (test) => {
  const { state, write, flush, reopen } = await openStore(reversed(test));
  write(id(1), {});
  await flush();
  state.sequence += 5;
  await flush();
  await reopen();
  assert.equal(state.store.through()?.sequence, 6);
});

test("a store that can't be written fails from then on, and still answers from memory", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  write(id(1), { requestId: "x".repeat(5_000) });
  await assert.rejects(flush());
  assert.equal(state.store.get(id(1))?.state.job.jobId, id(1));
  write(id(2), {});
  await assert.rejects(flush());
  assert.equal(state.store.through(), undefined);
});

test("an ended job that is retried and ends again is in the order of retention once, with its new end", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  const { JOB_STATUS_PENDING: pending } = JobStatus;
  const ends = (n: number, ms: number): void => write(id(n), { completedAt: new Date(ms) });
  for (const n of [1, 2, 3, 4]) ends(n, n);
  await flush();
  // 1 waits again, 2 has ended again before the next flush, 3 after it, 4 has ended at the same time as before.
  for (const n of [1, 2, 3, 4]) write(id(n), { status: pending });
  ends(2, 20);
  ends(4, 4);
  await flush();
  assert.deepEqual(state.store.oldestEnded(10, 100), [id(4), id(2)]);
  assert.deepEqual(state.store.oldestEnded(10, 3), []);
  assert.deepEqual(state.store.activeJobIds(), [id(1), id(3)]);
  ends(3, 30);
  await flush();
  assert.deepEqual(state.store.oldestEnded(10, 100), [id(4), id(2), id(3)]);
  assert.deepEqual(state.store.activeJobIds(), [id(1)]);
  for (const n of [1, 2, 3, 4]) write(id(n), undefined);
  await flush();
  assert.deepEqual(state.store.oldestEnded(10, 100), []);
  assert.deepEqual(state.store.activeJobIds(), []);
});

test("a flush forgets the groups that have no jobs any more, and totals stay right", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  const { JOB_STATUS_PENDING, JOB_STATUS_COMPLETED } = JobStatus;
  const of = (n: number) => ({ libraryId: `library-${n}` });
  for (let n = 0; n < 50; n++) write(id(n), { status: JOB_STATUS_PENDING, ...of(n) });
  await flush();
  for (let n = 0; n < 50; n++) write(id(n), n === 0 ? { status: JOB_STATUS_COMPLETED, ...of(0) } : undefined);
  await flush();
  const { counts } = state.store;
  // What has changed is held, and groups without jobs until it is taken.
  assert.deepEqual(counts.takeChanged(), []);
  write(id(1), { status: JOB_STATUS_PENDING, ...of(1) });
  const totals = [undefined, ...[0, 1, 2].map((n) => filter(of(n)))].map((by) => counts.total(by));
  assert.deepEqual(totals, [2, 1, 1, 0]);
  await flush();
  assert.equal(counts.total(undefined), 2);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type JobFilter, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { jobMatches } from "../../../services/scheduler/row-filter.ts";
import { reversed } from "../../support/reversed.ts";
import { filter, id, openStore } from "./open-store.ts";

const { JOB_STATUS_PENDING: PENDING, JOB_STATUS_COMPLETED: COMPLETED } = JobStatus;

const FILTERS: readonly (JobFilter | undefined)[] = [
  undefined,
  filter({ statuses: [PENDING] }),
  filter({ types: ["echo"], statuses: [COMPLETED] }),
  filter({ libraryId: "library-1" }),
  filter({ labels: { team: "a" } }),
  filter({ labels: { team: "b" }, statuses: [PENDING] }),
];

test("a page is exactly the jobs as of its position, whatever is written and flushed meanwhile", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  let step = 0;
  const next = (below: number): number => {
    step = (step * 48_271 + 11) % 2_147_483_647;
    return step % below;
  };
  const change = (): void => {
    const n = next(300);
    if (next(10) === 0) {
      if (state.store.get(id(n))) write(id(n), undefined);
      return;
    }
    // A job keeps its library, type and labels.
    write(id(n), {
      status: next(2) === 0 ? PENDING : COMPLETED,
      type: n % 2 === 0 ? "echo" : "batch_import",
      libraryId: `library-${n % 3}`,
      labels: { team: n % 5 === 0 ? "a" : "b" },
    });
  };
  let writing = true;
  const writer = (async () => {
    while (writing) {
      for (let n = 0; n < 20; n++) change();
      if (next(3) === 0) await flush();
      await nextTurn();
    }
  })();
  try {
    for (let round = 0; round < 60; round++) {
      const by = FILTERS[round % FILTERS.length];
      let token = "";
      let before: string | undefined;
      do {
        let expected: string[] = [];
        const asOf = (): number => {
          const jobs = [...state.jobs.values()].filter((job) => jobMatches(job, by));
          const ids = jobs
            .map(({ jobId }) => jobId)
            .filter((jobId) => before === undefined || jobId < before);
          expected = ids.sort().reverse().slice(0, 40);
          return state.sequence;
        };
        const page = await state.store.list(by, 40, token, asOf);
        assert.deepEqual(
          page.jobs.map(({ jobId }) => jobId),
          expected,
        );
        assert.ok(page.jobs.every((job) => jobMatches(job, by)));
        token = page.nextPageToken;
        before = page.jobs.at(-1)?.jobId;
      } while (token !== "" && before !== undefined);
    }
  } finally {
    writing = false;
    await writer;
  }
});

test("what is written before a list begins is in it, with its newest state and in its totals", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  for (let n = 0; n < 20; n++) write(id(n), { status: PENDING, labels: { team: "a" } });
  await flush();
  for (let n = 0; n < 5; n++) write(id(n), { status: COMPLETED, labels: { team: "a" } });
  write(id(19), undefined);
  for (let n = 20; n < 25; n++) write(id(n), { status: PENDING, labels: { team: "a" } });
  const { store } = state;
  const flushing = flush();
  const all = await store.list(undefined, 100, "");
  assert.equal(all.jobs.length, 24);
  assert.equal(all.totalSize, 24);
  const waiting = filter({ labels: { team: "a" }, statuses: [PENDING] });
  const first = await store.list(waiting, 10, "");
  assert.deepEqual([first.jobs[0]?.jobId, first.jobs.length, first.totalSize], [id(24), 10, 19]);
  const second = await store.list(waiting, 10, first.nextPageToken);
  assert.deepEqual([second.jobs.at(-1)?.jobId, second.totalSize, second.nextPageToken], [id(5), 19, ""]);
  await flushing;
});

test("a total with labels is the one as of the page, whatever changes while the thread reads", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  const labels = { team: "a" };
  for (let n = 0; n < 6; n++) write(id(n), { status: PENDING, labels });
  await flush();
  const labelled = filter({ labels });
  const pending = filter({ labels, statuses: [PENDING] });
  const changes: (readonly [string, () => void, labelled: number, pending: number])[] = [
    ["one ends", () => write(id(0), { status: COMPLETED, labels }), 6, 5],
    ["one waits again", () => write(id(0), { status: PENDING, labels }), 6, 6],
    ["one is new", () => write(id(6), { status: PENDING, labels }), 7, 7],
    ["one is deleted", () => write(id(1), undefined), 6, 6],
  ];
  for (const flushes of [false, true]) {
    for (const [what, change, ofLabel, ofPending] of changes) {
      // The thread has the request, not the change.
      const lists = [labelled, pending].map((by) => state.store.list(by, 2, ""));
      change();
      if (flushes) await flush();
      const pages = await Promise.all(lists);
      const totals = pages.map(({ totalSize }) => totalSize);
      assert.deepEqual(totals, [ofLabel, ofPending], `${what}, flushes: ${flushes}`);
      const next = await state.store.list(pending, 2, pages[1]?.nextPageToken ?? "");
      assert.equal(next.totalSize, ofPending);
      await flush();
    }
    write(id(1), { status: PENDING, labels });
    write(id(6), undefined);
    await flush();
  }
});

test("a label that more than 10,000 jobs have is not counted, and its pages go on to the last job", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  for (let n = 0; n < 10_001; n++) {
    write(id(n), { type: n === 0 ? "batch_import" : "echo", labels: { team: "a", odd: String(n % 2) } });
  }
  await flush();
  const { store } = state;
  assert.equal((await store.list(filter({ labels: { team: "a" } }), 10, "")).totalSize, undefined);
  assert.equal((await store.list(filter({ labels: { odd: "1" } }), 10, "")).totalSize, 5_000);
  assert.equal((await store.list(filter({ labels: { team: "a", odd: "1" } }), 10, "")).totalSize, 5_000);
  const rare = filter({ labels: { team: "a" }, createdBefore: new Date(1), types: ["batch_import"] });
  assert.deepEqual(
    (await store.list(rare, 10, "")).jobs.map(({ jobId }) => jobId),
    [id(0)],
  );
  // Nothing that narrows it down: the row is looked at, 10,000 a page.
  const late = filter({ createdAfter: new Date(1) });
  const first = await store.list(late, 10, "");
  assert.deepEqual([first.jobs.length, first.totalSize], [0, undefined]);
  const second = await store.list(late, 10, first.nextPageToken);
  assert.deepEqual([second.jobs.length, second.nextPageToken], [0, ""]);
});

test("a store that is closed ends its lists as UNAVAILABLE, also those that its thread reads", async (test) => {
  const { state, write, flush, reopen } = await openStore(reversed(test));
  for (let n = 0; n < 2_000; n++) write(id(n), {});
  await flush();
  for (const warm of [false, true]) {
    if (warm) await state.store.list(undefined, 10, "");
    const lists = Array.from({ length: 50 }, () => state.store.list(undefined, 1_000, ""));
    const closed = reopen();
    for (const list of await Promise.allSettled(lists)) {
      assert.equal(list.status === "rejected" && list.reason.code, "UNAVAILABLE");
    }
    await closed;
  }
  assert.equal((await state.store.list(undefined, 1_000, "")).jobs.length, 1_000);
});

test("lists that wait are bounded", async (test) => {
  const { state, write, flush } = await openStore(reversed(test));
  write(id(1), {});
  await flush();
  const lists = await Promise.allSettled(
    Array.from({ length: 300 }, () => state.store.list(undefined, 1, "")),
  );
  const refused = lists.filter((list) => list.status === "rejected");
  assert.ok(refused.length > 0 && refused.length <= 100, `${refused.length} of 300 are refused`);
  assert.ok(refused.every(({ reason }) => reason.code === "UNAVAILABLE"));
  assert.equal((await state.store.list(undefined, 1, "")).jobs.length, 1);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { systemClock } from "../../../platform/clock.ts";
import { silentLog } from "../../../platform/log.ts";
import { Subject } from "../../../platform/nats/names.ts";
import { Janitor } from "../../../services/scheduler/janitor.ts";

/** A janitor that finds objects and logs of "a" and "b", which are no jobs. */
function start() {
  const state = {
    maySend: true,
    removed: [] as string[],
    removing: 0,
    mostRemoving: 0,
    onRead: () => {},
    jobs: new Set<string>(),
    /** Jobs whose export nobody will read. */
    over: new Set<string>(),
    objects: ["a", "b"],
  };
  const janitor = new Janitor({
    nats: {
      streamSubjects: async (_stream, filter) => {
        if (filter !== Subject.objects) return { [Subject.jobLog("a")]: 1, [Subject.jobLog("b")]: 1 };
        return Object.fromEntries(state.objects.map((id) => [Subject.objectManifest(id), 1]));
      },
      getMessage: async () => {
        state.onRead();
        return { sequence: 1, subject: "", timeMs: 0, data: new Uint8Array(0) };
      },
      purge: async (_stream, which) => {
        state.removed.push("subject" in which ? which.subject : "");
        state.onRead();
      },
    },
    clock: systemClock,
    objects: {
      remove: async (objectId) => {
        state.removing += 1;
        state.mostRemoving = Math.max(state.mostRemoving, state.removing);
        await nextTurn();
        state.removing -= 1;
        state.removed.push(objectId);
      },
    },
    log: silentLog(),
    isJob: (jobId) => state.jobs.has(jobId),
    exportIsOver: (jobId) => state.over.has(jobId),
    maySend: () => state.maySend,
  });
  /** Time passes, and with it the leadership. */
  const loseLead = (): void => {
    state.maySend = false;
  };
  return { janitor, state, loseLead };
}

test("who may have lost the lead while an object was looked at does not remove it", async () => {
  const { janitor, state, loseLead } = start();
  state.onRead = loseLead;
  await janitor.sweep();
  assert.deepEqual(state.removed, []);
  state.onRead = () => {};
  state.maySend = true;
  await janitor.sweep();
  assert.deepEqual(state.removed, ["a", "b"]);
});

test("an object whose job came while it was looked at stays", async () => {
  const { janitor, state } = start();
  state.onRead = () => state.jobs.add("a");
  await janitor.sweep();
  assert.deepEqual(state.removed, ["b"]);
});

test("who may have lost the lead purges no more logs; those that are left go once it surely leads", async () => {
  const { janitor, state, loseLead } = start();
  janitor.deleted("a");
  for (let n = 0; n < 20; n++) janitor.deleted(`job-${n}`);
  janitor.deleted("b");
  state.onRead = loseLead;
  await janitor.sweepLogs();
  assert.deepEqual(state.removed.splice(0), [Subject.jobLog("a")]);
  await janitor.sweepLogs();
  assert.deepEqual(state.removed, []);
  state.maySend = true;
  state.onRead = () => {};
  await janitor.sweepLogs();
  assert.deepEqual(state.removed, [Subject.jobLog("a"), Subject.jobLog("b")]);
});

test("who may have lost the lead does not remove a deleted job's payload", async () => {
  const { janitor, state, loseLead } = start();
  loseLead();
  janitor.remove("a");
  assert.deepEqual(state.removed, []);
  state.maySend = true;
  janitor.remove("a");
  await nextTurn();
  assert.deepEqual(state.removed, ["a"]);
});

test("a job's export goes when nobody will read it, the job's other objects stay", async () => {
  const { janitor, state } = start();
  state.objects = ["a", "a-export", "a-items", "b-export"];
  state.jobs = new Set(["a", "b"]);
  await janitor.sweep();
  assert.deepEqual(state.removed, []);
  state.over.add("a");
  await janitor.sweep();
  assert.deepEqual(state.removed, ["a-export"]);
  state.removed = [];
  state.jobs.delete("b");
  await janitor.sweep();
  assert.deepEqual(state.removed, ["a-export", "b-export"]);
});

test("what became of a job's items stays with it, and goes without it", async () => {
  const { janitor, state } = start();
  state.objects = ["a-items", "b-items"];
  state.jobs.add("a");
  await janitor.sweep();
  assert.deepEqual(state.removed, ["b-items"]);
});

test("jobs that are deleted by the thousand send a few removals at a time", async () => {
  const { janitor, state } = start();
  const ids = Array.from({ length: 1_000 }, (_, n) => `job-${n}`);
  for (const id of ids) janitor.remove(id);
  while (state.removed.length < ids.length) await nextTurn();
  assert.deepEqual(state.removed, ids);
  assert.ok(state.mostRemoving <= 8, `${state.mostRemoving} at a time`);
});

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { ListClient, type ListThread } from "../../../services/scheduler/list-client.ts";
import {
  type ListTask,
  pack,
  processMs,
  type ToListThread,
} from "../../../services/scheduler/list-protocol.ts";

const REQUEST = { visible: [], filter: new Uint8Array(0), before: undefined, limit: 1, all: false };

/** Answers when the test says so. */
class FakeThread extends EventEmitter implements ListThread {
  readonly tasks: ListTask[] = [];

  postMessage(message: ToListThread): void {
    if (message === "stop") this.emit("exit", 0);
    else this.tasks.push(message);
  }

  async terminate(): Promise<void> {}

  /** The next task is done. */
  answer(jobId: string): void {
    const id = this.tasks.shift()?.id;
    const result = pack({ jobIds: [jobId], records: [], end: undefined, matching: undefined });
    this.emit("message", { id, result });
  }
}

function startClient() {
  const threads: FakeThread[] = [];
  const client = new ListClient(() => {
    const thread = new FakeThread();
    threads.push(thread);
    return thread;
  });
  /** The code it fails with, or the first job. */
  const scan = (): Promise<string | undefined> =>
    client.scan(REQUEST).then(
      ({ jobIds }) => jobIds[0],
      (error) => error.code,
    );
  return { client, threads, scan };
}

test("a list that came too late keeps its place until the thread has come to it", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, threads, scan } = startClient();
  const late = Array.from({ length: 200 }, scan);
  t.mock.timers.tick(10_000);
  assert.deepEqual(new Set(await Promise.all(late)), new Set(["UNAVAILABLE"]));
  const [thread] = threads;
  assert.equal(await scan(), "UNAVAILABLE");
  assert.equal(thread?.tasks.length, 200);
  thread?.answer("too late");
  const next = scan();
  assert.equal(thread?.tasks.length, 200);
  for (let n = 0; n < 199; n++) thread?.answer("too late");
  thread?.answer("job-1");
  assert.equal(await next, "job-1");
  await client.stop();
});

test("the thread is told until when a list is waited for", async () => {
  const { client, threads, scan } = startClient();
  const before = processMs();
  const list = scan();
  const { deadlineMs = 0 } = threads[0]?.tasks[0] ?? {};
  assert.ok(deadlineMs >= before + 10_000 && deadlineMs <= processMs() + 10_000, `${deadlineMs - before} ms`);
  threads[0]?.answer("job-1");
  assert.equal(await list, "job-1");
  await client.stop();
});

test("a thread that died takes its own lists with it, not those of the next thread", async () => {
  const { client, threads, scan } = startClient();
  const lost = scan();
  threads[0]?.emit("error", new Error("broken"));
  assert.equal(await lost, "UNAVAILABLE");
  const next = scan();
  threads[0]?.emit("exit", 1);
  threads[1]?.answer("job-1");
  assert.equal(await next, "job-1");
  assert.equal(threads.length, 2);
  await client.stop();
});

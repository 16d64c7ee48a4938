import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { startListThread } from "../../../services/scheduler/list-client.ts";
import { processMs, type ToListThread } from "../../../services/scheduler/list-protocol.ts";
import { JobStore } from "../../../services/scheduler/store.ts";
import { reversed } from "../../support/reversed.ts";
import { tempDir } from "../../support/temp.ts";

test("the list thread passes over lists that nobody waits for any more", async (test) => {
  const t = reversed(test);
  const path = join(await tempDir(t), "store");
  const store = new JobStore(path);
  t.after(() => store.close());
  const thread = startListThread(path);
  const exited = once(thread, "exit");
  const ask = async (deadlineMs: number) => {
    const request = { visible: [], filter: new Uint8Array(0), before: undefined, limit: 1, all: true };
    thread.postMessage({ id: 1, request, deadlineMs } satisfies ToListThread);
    const [answer] = await once(thread, "message");
    return answer;
  };
  try {
    assert.match((await ask(processMs() - 1)).error, /time was up/);
    assert.deepEqual((await ask(processMs() + 60_000)).result.matching, []);
  } finally {
    thread.postMessage("stop" satisfies ToListThread);
    await exited;
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { oneAhead } from "../../../services/worker/handlers/one-ahead.ts";

test("the next item is made while one is worked on; items that were worked on aren't held", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const made: WeakRef<object>[] = [];
  async function* source(): AsyncGenerator<object> {
    for (let n = 0; n < 50; n++) {
      const item = { n };
      made.push(new WeakRef(item));
      yield item;
    }
  }
  const { signal } = new AbortController();
  let worked = 0;
  for await (const _ of oneAhead(source(), signal)) {
    worked += 1;
    // The item after the current one is on its way.
    await new Promise(setImmediate);
    assert.equal(made.length, Math.min(50, worked + 1));
    if (worked < 45) continue;
    collect();
    const alive = made.filter((each) => each.deref() !== undefined).length;
    assert.ok(alive <= 5, `${alive} of ${made.length} items are still held`);
    break;
  }
});

test("aborted, it ends at once, and the source is left", async () => {
  const abort = new AbortController();
  const reason = new Error("enough");
  let goOn: () => void = () => undefined;
  const waits = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let onLeft: () => void = () => undefined;
  const left = new Promise<void>((resolve) => {
    onLeft = resolve;
  });
  async function* source(): AsyncGenerator<number> {
    try {
      yield 1;
      await waits;
      yield 2;
    } finally {
      onLeft();
    }
  }
  await assert.rejects(async () => {
    for await (const _ of oneAhead(source(), abort.signal)) abort.abort(reason);
  }, reason);
  goOn();
  await left;
});

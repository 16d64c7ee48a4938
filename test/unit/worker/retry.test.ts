import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ArrwError, unavailable } from "../../../platform/errors.ts";
import { whileUnavailable } from "../../../services/worker/retry.ts";

const never = new AbortController().signal;

describe("whileUnavailable", () => {
  test("goes on until the server is back", async () => {
    let calls = 0;
    const run = async (): Promise<number> => {
      calls += 1;
      if (calls === 1) throw unavailable("away");
      if (calls === 2) throw new ArrwError("DEADLINE_EXCEEDED", "slow");
      return calls;
    };
    assert.equal(await whileUnavailable(run, { forMs: 5_000, signal: never }), 3);
  });

  test("gives up with the last error when the time is over", async () => {
    const run = (): Promise<never> => Promise.reject(unavailable("away"));
    await assert.rejects(whileUnavailable(run, { forMs: 50, signal: never }), { message: "away" });
  });

  test("other errors are met at once", async () => {
    let calls = 0;
    const run = async (): Promise<never> => {
      calls += 1;
      throw new ArrwError("NOT_FOUND", "gone");
    };
    await assert.rejects(whileUnavailable(run, { forMs: 5_000, signal: never }), { code: "NOT_FOUND" });
    assert.equal(calls, 1);
  });

  test("an abort ends the pause, with its reason", async () => {
    const abort = new AbortController();
    const reason = new Error("stopped");
    const run = (): Promise<never> => Promise.reject(unavailable("away", { retryAfterMs: 60_000 }));
    const waiting = whileUnavailable(run, { forMs: 120_000, signal: abort.signal });
    setImmediate(() => abort.abort(reason));
    await assert.rejects(waiting, reason);
  });
});

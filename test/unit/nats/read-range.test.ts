import assert from "node:assert/strict";
import { test } from "node:test";
import { readRange } from "../../../platform/nats/read-range.ts";
import type { Tail } from "../../../platform/nats/tail.ts";

/** A replica that lags: what it has not got yet is not pending. */
test("a range ends with its last message, not where a replica has nothing more for now", async () => {
  const seen: number[] = [];
  let stopped = false;
  await readRange(
    ({ onMessage }) =>
      ({
        start: async () => {
          for (const sequence of [5, 6, 7, 8]) {
            await new Promise((resolve) => setImmediate(resolve));
            onMessage({ sequence, subject: "s", data: new Uint8Array(), pending: 0 });
          }
        },
        stop: async () => {
          stopped = true;
        },
      }) as unknown as Tail,
    {
      stream: "JOURNAL",
      fromSequence: 5,
      toSequence: 7,
      onMessage: ({ sequence }) => seen.push(sequence),
      timeoutMs: 1_000,
    },
  );
  assert.deepEqual([seen, stopped], [[5, 6, 7], true]);
});

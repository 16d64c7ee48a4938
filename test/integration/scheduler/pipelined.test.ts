import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../../platform/clock.ts";
import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { Stream, Subject } from "../../../platform/nats/names.ts";
import { ensureStreams } from "../../../platform/nats/streams.ts";
import { JournalBatch } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { Journal } from "../../../services/scheduler/journal.ts";
import { Queues } from "../../../services/scheduler/queues.ts";
import { startTestNats } from "../../support/nats.ts";
import { reversed } from "../../support/reversed.ts";
import type { Cleanup } from "../../support/temp.ts";

const BYTES = 32 * 1024 * 1024;

type Append = Nats["append"];

/** A leader with two appends in flight, and a successor's EPOCH batch before both. @returns messages stored behind it */
async function storedBehind(t: Cleanup, appendOf: (append: Append) => Append): Promise<number> {
  const server = await startTestNats(t);
  const nats = new Nats({ url: server.url, name: "test", log: silentLog() });
  await nats.start();
  t.after(() => nats.stop());
  await ensureStreams(nats, { journalMaxBytes: BYTES, objectsMaxBytes: BYTES, replicas: 1 });
  const epoch = (leaderAddress: string): Promise<number> => {
    const batch = JournalBatch.encode(JournalBatch.fromPartial({ version: 1, leaderAddress })).finish();
    return nats.append(Subject.journal, batch, { timeoutMs: 5_000 });
  };
  const lost: Error[] = [];
  const journal = new Journal<string>({
    nats: { append: appendOf((...args) => nats.append(...args)) },
    clock: systemClock,
    epoch: await epoch("old"),
    outcomesThrough: 0,
    lastLease: 0n,
    queues: new Queues([]),
    onCommitted: () => assert.fail("acknowledged"),
    onLost: (error) => lost.push(error),
  });
  // One connection keeps the order: the successor's batch takes the sequence that the first append is to get.
  const successor = epoch("new");
  const first = journal.append({ bytes: Buffer.from("first"), subject: "first" });
  await Promise.resolve();
  const second = journal.append({ bytes: Buffer.from("second"), subject: "second" });
  await assert.rejects(first.done);
  await assert.rejects(second.done);
  assert.equal(lost.length, 1);
  // A round trip behind them: both appends have reached the stream.
  await nats.append(Subject.outcomes, Buffer.from("last"), { timeoutMs: 5_000 });
  const { lastSequence } = await nats.streamInfo(Stream.journal);
  return lastSequence - (await successor);
}

test("of a deposed leader's appends in flight none is stored behind its successor's EPOCH batch", async (t) => {
  assert.equal(await storedBehind(reversed(t), (append) => append), 0);
});

test("the expected sequence alone would let the second one through", async (t) => {
  const withoutNames = (append: Append): Append => {
    return (subject, data, { timeoutMs, expectedLastSequence = 0 }) =>
      append(subject, data, { timeoutMs, expectedLastSequence });
  };
  assert.equal(await storedBehind(reversed(t), withoutNames), 1);
});

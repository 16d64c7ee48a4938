import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { systemClock } from "../../../platform/clock.ts";
import type { Nats } from "../../../platform/nats/connection.ts";
import { AppendError, type AppendOptions } from "../../../platform/nats/publisher.ts";
import { JournalBatch } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { type Batch, Journal, MAX_BATCH_BYTES } from "../../../services/scheduler/journal.ts";
import { Queues } from "../../../services/scheduler/queues.ts";

const EPOCH = 100;

interface Append {
  readonly batch: JournalBatch;
  readonly bytes: number;
  readonly options: AppendOptions;
  /** Acknowledges as the server would. */
  ack(sequence?: number): void;
  fail(error: Error): void;
}

/** Records appends; the test says when and how each ends. */
class FakeNats {
  readonly appends: Append[] = [];

  append(_subject: string, data: Uint8Array, options: AppendOptions): Promise<number> {
    return new Promise((resolve, reject) => {
      const right = (options.expectedLastSequence ?? 0) + 1;
      this.appends.push({
        batch: JournalBatch.decode(data),
        bytes: data.length,
        options,
        ack: (sequence = right) => resolve(sequence),
        fail: reject,
      });
    });
  }
}

function setUp() {
  const nats = new FakeNats();
  const committed: { names: string[]; sequence: number; outcomesThrough: number }[] = [];
  const lost: Error[] = [];
  const journal = new Journal<string>({
    nats: nats as unknown as Nats,
    clock: systemClock,
    queues: new Queues([]),
    epoch: EPOCH,
    outcomesThrough: 0,
    lastLease: 0n,
    onCommitted: (batch, sequence) => {
      const names = batch.records.map(({ subject }) => subject);
      committed.push({ names, sequence, outcomesThrough: batch.outcomesThrough });
    },
    onLost: (error) => lost.push(error),
  });
  const append = (subject: string, size = 10): Batch<string> =>
    journal.append({ bytes: Buffer.alloc(size, subject), subject });
  return { nats, journal, committed, lost, append };
}

const outcomeOf = (batch: Batch<string>): Promise<string> =>
  batch.done.then(
    () => "durable",
    (error: Error & { code?: string }) => error.code ?? error.message,
  );

describe("journal", () => {
  test("alone, a record goes at once; those decided meanwhile go together", async () => {
    const { nats, committed, append } = setUp();
    append("a");
    append("b");
    await nextTurn();
    assert.equal(nats.appends.length, 1);
    append("c");
    await nextTurn();
    append("d");
    append("e");
    await nextTurn();
    assert.equal(nats.appends.length, 2, "two in flight, the rest gathers");
    for (const each of nats.appends) each.ack();
    await nextTurn();
    nats.appends[2]?.ack();
    await nextTurn();
    assert.deepEqual(
      committed.map(({ names, sequence }) => [names, sequence]),
      [
        [["a", "b"], 101],
        [["c"], 102],
        [["d", "e"], 103],
      ],
    );
  });

  test("every append expects the one before it and carries the epoch", async () => {
    const { nats, append } = setUp();
    for (const name of ["a", "b", "c"]) {
      append(name);
      await nextTurn();
      nats.appends.at(-1)?.ack();
      await nextTurn();
    }
    assert.deepEqual(
      nats.appends.map(({ options }) => options.expectedLastSequence),
      [100, 101, 102],
    );
    for (const { batch } of nats.appends) assert.equal(batch.epoch, BigInt(EPOCH));
  });

  test("a batch is at most 512 KB, whatever the records", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 64 * 1024 }), { minLength: 1, maxLength: 40 }),
        async (sizes) => {
          const { nats, journal, committed, append } = setUp();
          sizes.forEach((size, n) => {
            append(String(n), size);
          });
          const settled = journal.settled();
          for (let n = 0; committed.flatMap(({ names }) => names).length < sizes.length; n++) {
            await Promise.resolve();
            nats.appends[n]?.ack();
            if (!nats.appends[n]) n -= 1;
          }
          await settled;
          assert.deepEqual(
            committed.flatMap(({ names }) => names),
            sizes.map((_, n) => String(n)),
          );
          for (const { bytes } of nats.appends) assert.ok(bytes <= MAX_BATCH_BYTES + 1_024, `${bytes}`);
        },
      ),
      { numRuns: 30 },
    );
  });

  test("outcomes_through never speaks for a record that is in a later batch", async () => {
    const { nats, journal, committed, append } = setUp();
    // One message of OUTCOMES whose records need three batches.
    for (let n = 0; n < 20; n++) append(`message 1, ${n}`, 60 * 1024);
    journal.outcomesThrough = 1;
    for (let n = 0; committed.length < 3; n++) {
      await nextTurn();
      nats.appends[n]?.ack();
    }
    assert.deepEqual(
      committed.map(({ outcomesThrough }) => outcomesThrough),
      [0, 0, 1],
    );
    assert.deepEqual(
      nats.appends.map(({ batch }) => batch.outcomesThrough),
      [0n, 0n, 1n],
    );
  });

  test("the highest lease number is in the batch that may grant it", async () => {
    const { nats, journal, append } = setUp();
    journal.lastLease = 9n;
    append("grant");
    await nextTurn();
    assert.equal(nats.appends[0]?.batch.lastLease, 9n);
  });

  for (const [what, error] of [
    ["a refused append", new AppendError("rejected", 10_071, "wrong last sequence")],
    ["a lost acknowledgement", new AppendError("unknown", 0, "no acknowledgement in time")],
  ] as const) {
    test(`after ${what} nothing is acknowledged any more`, async () => {
      const { nats, journal, committed, lost, append } = setUp();
      const batches = [append("a")];
      await nextTurn();
      batches.push(append("b"));
      await nextTurn();
      batches.push(append("c"));
      nats.appends[0]?.fail(error);
      // The server has taken the second one all the same, says a late acknowledgement.
      nats.appends[1]?.ack();
      await nextTurn();
      batches.push(append("d"));
      await nextTurn();
      assert.deepEqual(await Promise.all(batches.map(outcomeOf)), Array(4).fill("UNAVAILABLE"));
      assert.deepEqual(committed, []);
      assert.deepEqual(lost, [error]);
      assert.equal(nats.appends.length, 2, "nothing more is sent");
      await assert.rejects(journal.settled());
      assert.equal(journal.lost, true);
    });
  }

  test("an acknowledgement out of order, or with another sequence, ends the term", async () => {
    const outOfOrder = setUp();
    outOfOrder.append("a");
    await nextTurn();
    outOfOrder.append("b");
    await nextTurn();
    outOfOrder.nats.appends[1]?.ack();
    await nextTurn();
    assert.equal(outOfOrder.lost.length, 1);
    const other = setUp();
    other.append("a");
    await nextTurn();
    other.nats.appends[0]?.ack(EPOCH + 2);
    await nextTurn();
    assert.equal(other.lost.length, 1);
    assert.deepEqual([...outOfOrder.committed, ...other.committed], []);
  });

  test("settled waits for what was appended before, in flight or not", async () => {
    const { nats, journal, append } = setUp();
    await journal.settled();
    append("a");
    await nextTurn();
    append("b");
    append("c", 64 * 1024);
    let settled = false;
    const waiting = journal.settled().then(() => {
      settled = true;
    });
    nats.appends[0]?.ack();
    await nextTurn();
    assert.equal(settled, false);
    nats.appends[1]?.ack();
    await waiting;
  });
});

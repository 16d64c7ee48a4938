import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";
import { Outcome, OutcomeBatch } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { Outcomes } from "../../../services/worker/outcomes.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** JetStream as a test plays it: each append waits for its answer. */
class FakeStream {
  readonly appended: bigint[][] = [];
  readonly #answers: { resolve(sequence: number): void; reject(error: Error): void }[] = [];
  reconnected: () => void = () => undefined;

  append(_subject: string, data: Uint8Array): Promise<number> {
    const batch = OutcomeBatch.decode(data);
    assert.equal(batch.workerId, "worker");
    this.appended.push(batch.outcomes.map(({ lease }) => lease));
    return new Promise((resolve, reject) => this.#answers.push({ resolve, reject }));
  }

  onReconnect(listener: () => void): () => void {
    this.reconnected = listener;
    return () => undefined;
  }

  async acknowledge(): Promise<void> {
    this.#answers.shift()?.resolve(1);
    await turn();
  }

  async fail(): Promise<void> {
    this.#answers.shift()?.reject(new Error("no acknowledgement in time"));
    await turn();
  }
}

async function startOutcomes(t: { after(run: () => Promise<void>): void }) {
  const stream = new FakeStream();
  const outcomes = new Outcomes({
    nats: stream,
    workerId: "worker",
    log: silentLog(),
    registry: createRegistry("test"),
  });
  await outcomes.start();
  t.after(() => outcomes.stop());
  const stored: bigint[] = [];
  const add = (lease: bigint, text = ""): void => {
    const outcome = {
      $case: "failed" as const,
      value: {
        error: { code: "X", message: text, retryable: false },
        retryAfter: undefined,
        timedOut: false,
      },
    };
    outcomes.add(Outcome.encode({ jobId: "job", lease, outcome, fenceOpen: false }).finish(), () =>
      stored.push(lease),
    );
  };
  return { stream, outcomes, stored, add };
}

describe("outcomes", () => {
  test("one goes at once; what gathers while it is in flight goes together, in order", async (t) => {
    const { stream, stored, add } = await startOutcomes(t);
    add(1n);
    await turn();
    for (const lease of [2n, 3n, 4n]) add(lease);
    await turn();
    assert.deepEqual(stream.appended, [[1n]]);
    assert.deepEqual(stored, []);
    await stream.acknowledge();
    assert.deepEqual(stored, [1n]);
    assert.deepEqual(stream.appended, [[1n], [2n, 3n, 4n]]);
    await stream.acknowledge();
    assert.deepEqual(stored, [1n, 2n, 3n, 4n]);
  });

  test("what ends within one turn goes in one message", async (t) => {
    const { stream, add } = await startOutcomes(t);
    for (const lease of [1n, 2n, 3n]) add(lease);
    await turn();
    assert.deepEqual(stream.appended, [[1n, 2n, 3n]]);
  });

  test("a batch is repeated until it is acknowledged, and none overtakes it", async (t) => {
    const { stream, stored, add } = await startOutcomes(t);
    add(1n);
    await turn();
    add(2n);
    for (let round = 0; round < 3; round++) {
      await stream.fail();
      stream.reconnected();
      await turn();
    }
    assert.deepEqual(stream.appended, [[1n], [1n], [1n], [1n]]);
    await stream.acknowledge();
    await stream.acknowledge();
    assert.deepEqual(stream.appended.at(-1), [2n]);
    assert.deepEqual(stored, [1n, 2n]);
  });

  test("messages are bounded; an outcome above the bound goes alone", async (t) => {
    const { stream, add } = await startOutcomes(t);
    add(1n, "x".repeat(200_000));
    add(2n, "x".repeat(200_000));
    add(3n, "x".repeat(300_000));
    add(4n);
    await turn();
    for (let round = 0; round < 4; round++) await stream.acknowledge();
    assert.deepEqual(stream.appended, [[1n], [2n], [3n], [4n]]);
  });

  test("flush says whether all is stored", async (t) => {
    const { stream, outcomes, add } = await startOutcomes(t);
    assert.equal(await outcomes.flush(0), true);
    add(1n);
    await turn();
    assert.equal(await outcomes.flush(10), false);
    const flushed = outcomes.flush(5_000);
    await stream.acknowledge();
    assert.equal(await flushed, true);
  });
});

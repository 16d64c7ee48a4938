import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { LeaseGrant } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { AcceptedLeases } from "../../../services/worker/accepted-leases.ts";
import { Leases } from "../../../services/worker/leases.ts";
import type { StopReason } from "../../../services/worker/stopped.ts";

const grant = (lease: bigint): LeaseGrant => LeaseGrant.fromPartial({ lease, jobId: `job-${lease}` });

class RecordingAttempt {
  readonly stops: StopReason[] = [];
  stop(reason: StopReason): void {
    this.stops.push(reason);
  }
}

function started(leases: Leases, lease: bigint): RecordingAttempt {
  const attempt = new RecordingAttempt();
  assert.equal(leases.accept(grant(lease)), true);
  leases.started(lease, attempt);
  return attempt;
}

describe("accepted leases", () => {
  test("accepts each number once, whatever the order", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5_000 })), (numbers) => {
        const accepted = new AcceptedLeases();
        const model = new Set<number>();
        for (const number of numbers) {
          assert.equal(accepted.accept(number), !model.has(number));
          model.add(number);
        }
      }),
    );
  });

  test("numbers beyond 32 bits stay apart", () => {
    const accepted = new AcceptedLeases();
    assert.equal(accepted.accept(2 ** 40 + 1), true);
    assert.equal(accepted.accept(2 ** 40 + 2 ** 32 + 1), true);
    assert.equal(accepted.accept(2 ** 40 + 1), false);
  });
});

describe("leases", () => {
  test("a lease is listed from its acceptance until the scheduler confirms its end", async () => {
    const leases = new Leases();
    started(leases, 7n);
    const held = (finished: boolean) => [{ lease: 7n, jobId: "job-7", finished }];
    assert.deepEqual(leases.list(), held(false));
    assert.equal(leases.running, 1);
    const idle = leases.idle();
    leases.ended(7n);
    await idle;
    assert.equal(leases.running, 0);
    assert.deepEqual(leases.list(), held(false));
    leases.stored(7n);
    assert.deepEqual(leases.list(), held(true));
    assert.equal(leases.finished, 1);
    leases.disown(7n);
    assert.deepEqual(leases.list(), []);
    assert.equal(leases.finished, 0);
  });

  test("a lease ever accepted is not accepted again", () => {
    const leases = new Leases();
    started(leases, 7n);
    assert.equal(leases.accept(grant(7n)), false);
    leases.ended(7n);
    leases.stored(7n);
    leases.disown(7n);
    assert.equal(leases.accept(grant(7n)), false);
    assert.equal(leases.accept(grant(6n)), true);
  });

  test("disowning a running lease stops it and forgets it", async () => {
    const leases = new Leases();
    const attempt = started(leases, 3n);
    leases.disown(3n);
    assert.deepEqual(attempt.stops, ["disowned"]);
    assert.deepEqual(leases.list(), []);
    await leases.idle();
    leases.disown(3n);
    leases.disown(99n);
    assert.equal(leases.running, 0);
  });

  test("stop reaches running leases only", () => {
    const leases = new Leases();
    const [first, second] = [started(leases, 1n), started(leases, 2n)];
    leases.ended(1n);
    leases.stop(1n, "cancel");
    leases.stop(2n, "cancel");
    leases.stop(5n, "cancel");
    leases.stopAll("drain");
    assert.deepEqual(first?.stops, []);
    assert.deepEqual(second?.stops, ["cancel", "drain"]);
  });

  test("a heartbeat's list is bounded, running leases first", () => {
    const leases = new Leases();
    for (let lease = 1n; lease <= 15_000n; lease++) {
      leases.accept(grant(lease));
      leases.stored(lease);
    }
    started(leases, 20_000n);
    const list = leases.list();
    assert.equal(list.length, 12_000);
    assert.equal(list[0]?.lease, 20_000n);
  });
});

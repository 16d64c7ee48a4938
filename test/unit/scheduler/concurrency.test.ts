import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Concurrency } from "../../../services/scheduler/concurrency.ts";
import type { Entry } from "../../../services/scheduler/jobs.ts";
import { pending, type Request } from "./states.ts";

function entry(jobId: string, request: Request): Entry {
  const head = pending({ ...request, jobId });
  return {
    jobId,
    head,
    committed: head,
    batch: undefined,
    sequence: 0,
    stored: false,
    progress: undefined,
  };
}

function setUp() {
  const admitted: string[] = [];
  const concurrency = new Concurrency(({ jobId }) => admitted.push(jobId));
  const come = (jobId: string, request: Request): boolean => concurrency.admit(entry(jobId, request));
  return { concurrency, admitted, come };
}

describe("concurrency keys", () => {
  test("jobs without limits pass", () => {
    const { come, concurrency } = setUp();
    assert.equal(come("a", {}), true);
    assert.equal(concurrency.waitingFor("a"), undefined);
  });

  test("one at a time by default, in order; the next starts when one leaves", () => {
    const { come, concurrency, admitted } = setUp();
    const key = { concurrencyKey: "k" };
    assert.deepEqual([come("a", key), come("b", key), come("c", key)], [true, false, false]);
    assert.match(concurrency.waitingFor("b") ?? "", /"k": 1 of 1/);
    concurrency.leave("a");
    assert.deepEqual(admitted, ["b"]);
    concurrency.leave("b");
    concurrency.leave("c");
    assert.deepEqual(admitted, ["b", "c"]);
    assert.equal(come("d", key), true);
  });

  test("a job that leaves the line lets those behind it start", () => {
    const { come, concurrency, admitted } = setUp();
    come("a", { concurrencyKey: "k", concurrencyLimit: 2 });
    come("b", { concurrencyKey: "k", concurrencyLimit: 1 });
    assert.equal(come("c", { concurrencyKey: "k", concurrencyLimit: 2 }), false, "no overtaking");
    concurrency.leave("b");
    assert.deepEqual(admitted, ["c"]);
  });

  test("one that has not started keeps those away that its own limit does not allow", () => {
    const { come, concurrency, admitted } = setUp();
    const alone = { concurrencyKey: "k", concurrencyLimit: 1 };
    const inPairs = { concurrencyKey: "k", concurrencyLimit: 2 };
    assert.deepEqual([come("alone", alone), come("b", inPairs)], [true, false]);
    concurrency.started("alone");
    assert.deepEqual(admitted, ["b"], "from now on only b's own limit counts");
    concurrency.started("b");
    // Given back by its worker, it may not start beside b again.
    assert.equal(come("alone", alone), false);
    concurrency.leave("b");
    assert.deepEqual(admitted, ["b", "alone"]);
  });

  test("index jobs of one library exclude each other, whatever their type", () => {
    const { come, concurrency, admitted } = setUp();
    assert.equal(come("a", { type: "index_rebuild", libraryId: "l" }), true);
    assert.equal(come("b", { type: "regenerate_embeddings", libraryId: "l" }), false);
    assert.equal(come("c", { type: "index_optimize", libraryId: "other" }), true);
    assert.equal(come("d", { type: "batch_import", libraryId: "l" }), true);
    assert.match(concurrency.waitingFor("b") ?? "", /index jobs of library "l"/);
    concurrency.leave("a");
    assert.deepEqual(admitted, ["b"]);
  });

  test("what runs after a takeover holds its limits", () => {
    const { come, concurrency, admitted } = setUp();
    concurrency.hold(entry("running", { concurrencyKey: "k" }));
    assert.equal(come("a", { concurrencyKey: "k" }), false);
    concurrency.leave("running");
    assert.deepEqual(admitted, ["a"]);
  });

  test("a job given back keeps its place", () => {
    const { come } = setUp();
    come("a", { concurrencyKey: "k" });
    come("b", { concurrencyKey: "k" });
    assert.equal(come("a", { concurrencyKey: "k" }), true);
  });

  test("never more than the limit, everyone gets a turn, nothing is left behind", () => {
    const job = fc.record({
      key: fc.constantFrom("", "k", "l"),
      limit: fc.integer({ min: 1, max: 3 }),
      leaveEarly: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(job, { maxLength: 30 }), (jobs) => {
        const holding = new Map<string, { key: string; limit: number }>();
        const start = (jobId: string): void => {
          const { key, limit } = jobs[Number(jobId)] ?? { key: "", limit: 1 };
          const others = [...holding.values()].filter((each) => key !== "" && each.key === key).length;
          assert.ok(key === "" || others < limit, `${others} others hold ${key}, the limit is ${limit}`);
          holding.set(jobId, { key, limit });
        };
        const concurrency = new Concurrency(({ jobId }) => start(jobId));
        const left = new Set<string>();
        for (const [index, { key, limit }] of jobs.entries()) {
          const type = key === "" ? "index_rebuild" : "echo";
          const request = { type, libraryId: "x", concurrencyKey: key, concurrencyLimit: limit };
          if (concurrency.admit(entry(String(index), request))) start(String(index));
        }
        for (const [index, { leaveEarly }] of jobs.entries()) {
          if (!leaveEarly || holding.has(String(index))) continue;
          left.add(String(index));
          concurrency.leave(String(index));
        }
        for (let turn = 0; holding.size > 0; turn++) {
          assert.ok(turn < 100);
          for (const jobId of [...holding.keys()]) {
            holding.delete(jobId);
            left.add(jobId);
            concurrency.leave(jobId);
          }
        }
        assert.equal(left.size, jobs.length, "some job never got its turn");
      }),
      { numRuns: 300 },
    );
  });
});

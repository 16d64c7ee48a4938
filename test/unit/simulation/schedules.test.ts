import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { anyPlan } from "../../simulation/arbitrary.ts";
import { explain, reportOf, search } from "../../simulation/check.ts";

/** A second of them; test/integration/simulation runs more, and `npm run simulate` 10,000. */
const RUNS = 60;

test("whatever fails and is asked meanwhile, the journal keeps its rules and everything comes to rest", async () => {
  const found = await search({ runs: RUNS, seed: 42 });
  assert.equal(found && reportOf(found), undefined);
});

test("a schedule goes the same way every time", async () => {
  const plans = fc.sample(anyPlan, { seed: 7, numRuns: 5 });
  for (const plan of plans) assert.deepEqual(await explain(plan), await explain(plan));
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { reportOf, search } from "../../simulation/check.ts";

test("1,000 schedules keep every rule and come to rest", async () => {
  const found = await search({ runs: 1_000, seed: 2_026 });
  assert.equal(found && reportOf(found), undefined);
});

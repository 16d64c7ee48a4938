import assert from "node:assert/strict";
import { test } from "node:test";
import { DIRECTED } from "./directed.ts";
import { PLANTED_BUGS, type PlantedBug, plant } from "./planted-bugs.ts";
import { run } from "./run.ts";
import { describeViolations } from "./summary.ts";

/** Checks of which one must report the bug; others may see its consequences. */
const CAUGHT_BY: Readonly<Record<PlantedBug["name"], readonly string[]>> = {
  "lease-check": ["lease"],
  "expected-sequence": ["epoch"],
  "outcomes-through": ["outcome-skipped"],
  "index-fence": ["fence"],
};

/** Whether a bug bites is up to the moment, too: a leader may wake up to hear first that it leads no more. */
const MAX_TURNS = 3;

for (const bug of PLANTED_BUGS) {
  const { name, guard } = bug;

  test(`the plan for "${name}" finds nothing in the sources as they are`, async () => {
    const { violations } = await run(DIRECTED[name]);
    assert.equal(violations.length, 0, describeViolations(violations));
  });

  test(`without "${guard}" a violation is reported`, async (t) => {
    const tree = await plant(bug);
    t.after(() => tree.remove());
    let seen = "";
    for (let turn = 1; turn <= MAX_TURNS; turn++) {
      const { violations } = await run({ ...DIRECTED[name], source: tree.source, keepFolder: false });
      const checks = new Set(violations.map(({ check }) => check));
      t.diagnostic(`turn ${turn}: ${violations.length} violations: ${[...checks].join(", ")}`);
      if (CAUGHT_BY[name].some((check) => checks.has(check))) return;
      seen = describeViolations(violations);
    }
    assert.fail(`not caught: ${seen}`);
  });
}

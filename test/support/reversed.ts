import type { Cleanup } from "./temp.ts";

/** node:test runs what is to be done after a test in the order given; parts must stop before what they stand on. */
export function reversed(test: Cleanup): Cleanup {
  const runs: (() => Promise<void> | void)[] = [];
  test.after(async () => {
    for (const run of runs.reverse()) await run();
  });
  return { after: (run) => void runs.push(run) };
}

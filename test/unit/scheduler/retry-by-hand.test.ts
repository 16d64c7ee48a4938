import assert from "node:assert/strict";
import { test } from "node:test";
import { isTerminal } from "../../../services/scheduler/domain/state.ts";
import { accepted, rejection, type StateName, states } from "./states.ts";

test("a retry that names an end takes at that end, once, and nowhere later", () => {
  for (const name of Object.keys(states) as StateName[]) {
    const state = states[name];
    if (!state || !isTerminal(state.job.status)) continue;
    const { revision } = state.job;
    const retry = { kind: "retry", fromCheckpoint: false, endedRevision: revision } as const;
    const again = accepted(state, retry).state;
    assert.equal(again.job.revision, revision + 1n);
    assert.equal(rejection(again, retry), "ALREADY");
    // It may have ended again by the time of a repeat.
    const ended = { ...state, job: { ...state.job, revision: revision + 2n } };
    assert.equal(rejection(ended, retry), "ALREADY");
    assert.equal(accepted(ended, { ...retry, endedRevision: 0n }).state.job.revision, revision + 3n);
  }
});

import { checkCalls, checkFinal } from "./checks/calls.ts";
import { checkImports } from "./checks/imports.ts";
import { checkLimits } from "./checks/limits.ts";
import { checkOrder } from "./checks/order.ts";
import { checkProcesses } from "./checks/processes.ts";
import { checkTransitions } from "./checks/transitions.ts";
import { checkWatches } from "./checks/watches.ts";
import type { Entry, Violation } from "./history.ts";
import { JournalView } from "./journal-view.ts";

const CHECKS: readonly ((view: JournalView) => Iterable<Violation>)[] = [
  checkOrder,
  checkTransitions,
  checkLimits,
  checkCalls,
  checkWatches,
  checkImports,
  checkFinal,
  checkProcesses,
];

/**
 * Judges a recorded history. Pure: the same entries give the same answer. In the order of the checks, the journal's own
 * order first: what breaks there explains most of what follows.
 */
export function check(entries: readonly Entry[]): Violation[] {
  const view = new JournalView(entries);
  return CHECKS.flatMap((run) => [...run(view)]);
}

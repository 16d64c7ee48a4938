import type { Violation } from "../history.ts";
import type { JournalView } from "../journal-view.ts";

/** No process ends by itself once it is ready, whatever happens around it. */
export function* checkProcesses(view: JournalView): Generator<Violation> {
  for (const exit of view.all("exit")) {
    if (!exit.wasReady) continue;
    const message = `${exit.process} ended by itself (${exit.how})`;
    yield { check: "process", message, evidence: [exit] };
  }
}

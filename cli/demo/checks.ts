import { paint, print } from "../terminal.ts";

/** What the demo saw against what it must see; every check is printed as it is made. */
export class Checks {
  #passed = 0;
  readonly #failures: string[] = [];

  get passed(): number {
    return this.#passed;
  }

  get failures(): readonly string[] {
    return this.#failures;
  }

  /** `seen` says what there was instead. */
  ok(claim: string, holds: boolean, seen = ""): void {
    if (holds) {
      this.#passed += 1;
      print(`   ${paint("green", "✓")} ${claim}`);
      return;
    }
    const failure = seen === "" ? claim : `${claim}: ${seen}`;
    this.#failures.push(failure);
    print(`   ${paint("red", "✗")} ${failure}`);
  }
}

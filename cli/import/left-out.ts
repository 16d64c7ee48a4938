import { extname } from "node:path";
import { count, plain, plural } from "../format.ts";

const MOST_NAMED = 50;
const MOST_KINDS = 8;

/** What an import leaves out: files that should have been documents by name, others by their kind. */
export class LeftOut {
  readonly #named: string[] = [];
  #unnamed = 0;
  readonly #others = new Map<string, number>();

  readonly listeners = {
    onSkipped: (path: string, reason: string): void => {
      if (this.#named.length < MOST_NAMED) this.#named.push(`skipped ${plain(path)}: ${reason}`);
      else this.#unnamed += 1;
    },
    onOther: (path: string): void => {
      const kind = extname(path).toLowerCase() || "without extension";
      this.#others.set(kind, (this.#others.get(kind) ?? 0) + 1);
    },
  };

  /** For people; once. */
  takeLines(): string[] {
    const lines = this.#named.splice(0);
    if (this.#unnamed > 0) lines.push(`skipped ${plural(this.#unnamed, "file")} more`);
    this.#unnamed = 0;
    const kinds = [...this.#others].sort((a, b) => b[1] - a[1]);
    this.#others.clear();
    if (kinds.length === 0) return lines;
    const all = kinds.reduce((sum, [, number]) => sum + number, 0);
    const shown = kinds.slice(0, MOST_KINDS).map(([kind, number]) => `${count(number)} ${plain(kind)}`);
    const rest = kinds.length > MOST_KINDS ? ", ..." : "";
    lines.push(`left out ${plural(all, "file")} of other kinds: ${shown.join(", ")}${rest}`);
    return lines;
  }
}

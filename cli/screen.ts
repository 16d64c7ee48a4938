export interface ScreenOptions {
  /** q, Ctrl-C or Ctrl-D was typed. */
  readonly onLeave: () => void;
  /** The terminal has another size now. */
  readonly onResize: () => void;
}

const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
/** Ctrl-C and Ctrl-D come as characters. */
const LEAVING: ReadonlySet<string> = new Set(["q", "Q", "\u0003", "\u0004"]);
const HOME = "\u001b[H";
const CLEAR_LINE = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";

/** The whole terminal, beside what is on it: it comes back when the screen is closed. */
export class Screen {
  readonly #options: ScreenOptions;

  constructor(options: ScreenOptions) {
    this.#options = options;
  }

  get size(): { readonly columns: number; readonly rows: number } {
    return { columns: process.stdout.columns ?? 80, rows: process.stdout.rows ?? 24 };
  }

  open(): void {
    process.stdout.write(ENTER);
    process.stdout.on("resize", this.#options.onResize);
    process.once("exit", this.#restore);
    if (process.stdin.isTTY !== true) return;
    process.stdin.setRawMode(true);
    process.stdin.on("data", this.#onKey);
  }

  /** In place, so that nothing flickers. */
  draw(lines: readonly string[]): void {
    const text = lines.map((line) => `${line}${CLEAR_LINE}`).join("\r\n");
    process.stdout.write(`${HOME}${text}${CLEAR_BELOW}`);
  }

  close(): void {
    process.stdout.off("resize", this.#options.onResize);
    process.off("exit", this.#restore);
    this.#restore();
    process.stdin.off("data", this.#onKey);
    process.stdin.pause();
  }

  readonly #onKey = (data: Buffer): void => {
    if ([...data.toString("latin1")].some((key) => LEAVING.has(key))) this.#options.onLeave();
  };

  readonly #restore = (): void => {
    if (process.stdin.isTTY === true) process.stdin.setRawMode(false);
    process.stdout.write(LEAVE);
  };
}

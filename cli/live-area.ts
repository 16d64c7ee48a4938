/** The last lines of a terminal, redrawn in place; what is printed above them scrolls off as usual. */

const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
const CLEAR_BELOW = "\r\u001b[J";

export class LiveArea {
  readonly #stream: NodeJS.WriteStream;
  #drawn = 0;
  #hidden = false;

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
  }

  /** Columns that a line may have: one less than there are, since a full one may wrap. */
  get columns(): number {
    return (this.#stream.columns ?? 80) - 1;
  }

  get rows(): number {
    return this.#stream.rows ?? 24;
  }

  draw(lines: readonly string[]): void {
    const shown = lines.slice(0, this.rows - 1);
    const text = shown.map((line) => `${line}\u001b[K\n`).join("");
    this.#stream.write(`${this.#hidden ? "" : HIDE_CURSOR}${this.#back()}${text}\u001b[J`);
    this.#hidden = true;
    this.#drawn = shown.length;
  }

  /** Makes room for lines that stay: they are to be printed now, and the area drawn again. */
  clear(): void {
    if (this.#drawn > 0) this.#stream.write(`${this.#back()}${CLEAR_BELOW}`);
    this.#drawn = 0;
  }

  /** Twice is fine. */
  close(): void {
    this.clear();
    if (this.#hidden) this.#stream.write(SHOW_CURSOR);
    this.#hidden = false;
  }

  #back(): string {
    return this.#drawn > 0 ? `\u001b[${this.#drawn}A\r` : "\r";
  }
}

import type { ArrwError } from "../../platform/errors.ts";
import { type LogMessage, MAX_BYTES, MAX_LINES } from "./domain/job-log.ts";

/** One client that follows a job's log: what came for it and is not sent yet, within the bounds of a log. */
export class LogFollower {
  /** Why no more will come: "job" = the job has ended. */
  ended: ArrwError | "job" | undefined;
  readonly #queue: LogMessage<Buffer>[] = [];
  #lines = 0;
  #bytes = 0;
  /** Lines have to be read from the stream: at the start, and when too many waited. */
  #behind = true;
  #wake: (() => void) | undefined;

  /** Whether it has to read; what comes from now on is kept for it. */
  takeBehind(): boolean {
    const behind = this.#behind;
    this.#behind = false;
    return behind;
  }

  offer(message: LogMessage<Buffer>): void {
    if (this.#behind) return;
    this.#queue.push(message);
    this.#lines += message.lines.length;
    this.#bytes += bytesOf(message);
    if (this.#lines > MAX_LINES || this.#bytes > MAX_BYTES) {
      this.#queue.length = 0;
      this.#lines = 0;
      this.#bytes = 0;
      this.#behind = true;
    }
    this.#wakeUp();
  }

  shift(): LogMessage<Buffer> | undefined {
    const message = this.#queue.shift();
    if (!message) return undefined;
    this.#lines -= message.lines.length;
    this.#bytes -= bytesOf(message);
    return message;
  }

  end(why: ArrwError | "job"): void {
    this.ended ??= why;
    this.#wakeUp();
  }

  /** Resolves when there is something to do. */
  async woken(): Promise<void> {
    if (this.ended || this.#behind || this.#queue.length > 0) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

function bytesOf({ lines }: LogMessage<Buffer>): number {
  return lines.reduce((sum, line) => sum + line.length, 0);
}

import { ClientError, type ResumeOptions } from "../client/index.ts";
import { UsageError } from "./failure.ts";
import { plain } from "./format.ts";
import { toJson } from "./json.ts";
import { note, paint, print, printJson } from "./terminal.ts";
import { INTERRUPTED, untilInterrupted } from "./watch-job.ts";

/** Shows what a watch brings, a line or a JSON object per event, until Ctrl-C. */
export async function showEvents<E extends object>(
  watch: (options: ResumeOptions) => AsyncIterable<E>,
  line: (event: E) => string,
  json: boolean,
): Promise<void> {
  const onInterrupted = ({ message }: Error): void =>
    note(paint("dim", `interrupted, going on: ${plain(message)}`, process.stderr));
  await untilInterrupted(async (signal) => {
    try {
      for await (const event of watch({ signal, onInterrupted })) {
        if (json) printJson(toJson(event));
        else print(line(event));
        await written();
      }
    } catch (error) {
      if (signal.aborted) process.exitCode = INTERRUPTED;
      else throw explained(error);
    }
  });
}

function explained(error: unknown): unknown {
  if (!(error instanceof ClientError)) return error;
  const oldest = error.metadata.oldest ?? error.metadata.oldest_cursor;
  if (oldest === undefined) return error;
  return new UsageError(`${plain(error.message)}; or take what is left: --after ${plain(oldest)}`, error);
}

/** Whoever reads slowly makes the watch wait, not this process grow. */
function written(): Promise<void> | undefined {
  if (!process.stdout.writableNeedDrain) return undefined;
  return new Promise((resolve) => process.stdout.once("drain", () => resolve()));
}

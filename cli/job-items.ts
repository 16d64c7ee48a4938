import type { Command } from "commander";
import type { JobItem } from "../client/index.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "./connection.ts";
import { plain } from "./format.ts";
import { toJson } from "./json.ts";
import { paint, print, printJson } from "./terminal.ts";

/** arrw jobs items */

interface ItemsOptions extends ClientCommandOptions {
  readonly failed?: boolean;
}

export function registerItems(jobs: Command): void {
  withClientOptions(jobs.command("items <job>"))
    .description("what became of each document of an import or a deletion, by position")
    .option("--failed", "only those that failed")
    .action(showItems);
}

async function showItems(jobId: string, { failed, ...options }: ItemsOptions): Promise<void> {
  await withClient(options, async (client) => {
    let shown = 0;
    for await (const item of client.jobItems(jobId, failed ? { outcome: "failed" } : {})) {
      shown += 1;
      if (options.json) printJson(toJson(item));
      else print(itemText(item));
    }
    if (shown === 0 && !options.json) print(failed ? "no items that failed" : "no items yet");
  });
}

/** "12  failed  doc-12  Title  CODE: message" */
export function itemText({ ordinal, outcome, documentId, title, error }: JobItem): string {
  const style = outcome === "failed" ? "red" : "green";
  const why = error ? `${error.code}: ${plain(error.message)}` : "";
  const parts = [plain(documentId), plain(title), why].filter((part) => part !== "");
  return `${String(ordinal).padStart(7)}  ${paint(style, outcome.padEnd(6))}  ${parts.join("  ")}`;
}

import type { Command } from "commander";
import type { Hit } from "../../client/index.ts";
import { integer } from "../arguments.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { duration, shortened, wrapped } from "../format.ts";
import { toJson } from "../json.ts";
import { note, paint, print, printJson, width } from "../terminal.ts";

interface Options extends ClientCommandOptions {
  readonly k: number;
  readonly exact?: boolean;
  readonly ef?: number;
}

export function register(program: Command): void {
  withClientOptions(program.command("search <library> <text>"))
    .description("the chunks nearest to a text")
    .option("-k <n>", "hits at most", integer, 5)
    .option("--exact", "compare with every vector instead of asking the index")
    .option("--ef <n>", "candidates looked at", integer)
    .action(run);
}

async function run(library: string, text: string, options: Options): Promise<void> {
  const began = performance.now();
  const { hits } = await withClient(options, (client) =>
    client.search(library, text, {
      k: options.k,
      exact: options.exact ?? false,
      efSearch: options.ef ?? 0,
      includeText: true,
    }),
  );
  if (options.json) {
    for (const hit of hits) printJson(toJson(hit));
    return;
  }
  if (hits.length === 0) return print("nothing found");
  print(...hits.flatMap((hit, i) => hitLines(hit, i + 1, width())));
  note(paint("dim", `${duration(performance.now() - began)}`, process.stderr));
}

const TEXT_LINES = 2;

/** Rank, score and title; below it the beginning of the chunk. */
export function hitLines(hit: Hit, rank: number, columns: number): string[] {
  const head = `${String(rank).padStart(2)}  ${hit.score.toFixed(3)}  `;
  const title = shortened(hit.title || hit.documentId, columns - head.length);
  const indent = " ".repeat(head.length);
  const text = wrapped(hit.text, columns - head.length, TEXT_LINES);
  return [`${head}${paint("bold", title)}`, ...text.map((line) => `${indent}${paint("dim", line)}`)];
}

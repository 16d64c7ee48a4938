import { text as textOf } from "node:stream/consumers";
import type { Command } from "commander";
import type { Condition, Hit, SearchQuery } from "../../client/index.ts";
import { integer } from "../arguments.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { withDocumentFilter } from "../document-filter.ts";
import { UsageError } from "../failure.ts";
import { duration, shortened, wrapped } from "../format.ts";
import { toJson } from "../json.ts";
import { note, paint, print, printJson, width } from "../terminal.ts";

interface Options extends ClientCommandOptions {
  readonly k: number;
  readonly exact?: boolean;
  readonly ef?: number;
  readonly vector?: string;
  readonly filter?: readonly Condition[];
}

export function register(program: Command): void {
  withDocumentFilter(withClientOptions(program.command("search <library> [text]")))
    .description("the chunks nearest to a text, or to a vector")
    .option("--vector <numbers>", "look for this vector, as [0.1, 0.2, ...]; - reads it from stdin")
    .option("-k <n>", "hits at most", integer, 5)
    .option("--exact", "compare with every vector instead of asking the index")
    .option("--ef <n>", "candidates looked at", integer)
    .action(run);
}

async function run(library: string, text: string | undefined, options: Options): Promise<void> {
  const query = await queryOf(text, options.vector);
  const began = performance.now();
  const { filter } = options;
  const { hits } = await withClient(options, (client) =>
    client.search(library, query, {
      ...(filter ? { filter: { all: [...filter] } } : {}),
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

async function queryOf(text: string | undefined, vector: string | undefined): Promise<SearchQuery> {
  if ((text === undefined) === (vector === undefined)) {
    throw new UsageError("what to look for? a text, or --vector; one of the two");
  }
  if (vector === undefined) return text ?? "";
  const typed = vector === "-" ? await textOf(process.stdin) : vector;
  const numbers = typed
    .trim()
    .replace(/^\[|\]$/g, "")
    .split(/[\s,]+/)
    .filter((each) => each !== "")
    .map(Number);
  const wrong = numbers.findIndex((number) => !Number.isFinite(number));
  if (numbers.length === 0) throw new UsageError("--vector: expected numbers, as [0.1, 0.2, ...]");
  if (wrong >= 0) throw new UsageError(`--vector: number ${wrong + 1} is none`);
  return numbers;
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

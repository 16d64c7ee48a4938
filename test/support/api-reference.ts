import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/**
 * docs/api-reference.md, made of the public proto files and their comments: `npm run docs` writes it, a unit test
 * compares. The files are as buf formats them: a declaration a line, its comment above it.
 */

const FILES = ["jobs", "libraries", "document", "queues"] as const;
export const API_REFERENCE = fileURLToPath(new URL("../../docs/api-reference.md", import.meta.url));

interface Row {
  readonly cells: readonly string[];
  readonly comment: string;
}

interface Block {
  readonly kind: "service" | "message" | "enum";
  readonly name: string;
  readonly comment: string;
  readonly rows: Row[];
}

const BLOCK = /^(service|message|enum) (\w+) \{(\})?$/;
const RPC = /^rpc (\w+)\((stream )?([\w.]+)\) returns \((stream )?([\w.]+)\)(;| \{.*)$/;
const FIELD = /^(optional |repeated )?(map<[\w., ]+>|[\w.]+) (\w+) = (\d+)( \[.*\])?;$/;
const VALUE = /^(\w+) = (\d+);$/;

/** @throws Error on a line that it doesn't understand */
function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  const open: { readonly block: Block; oneof: string }[] = [];
  let comment: string[] = [];
  for (const line of text.split("\n").map((each) => each.trim())) {
    if (line.startsWith("//")) {
      comment.push(line.slice(2).trim());
      continue;
    }
    const said = comment.join("\n");
    comment = [];
    const inside = open.at(-1);
    const [, kind, name = "", empty] = BLOCK.exec(line) ?? [];
    if (kind) {
      const full = inside ? `${inside.block.name}.${name}` : name;
      const block: Block = { kind: kind as Block["kind"], name: full, comment: said, rows: [] };
      blocks.push(block);
      if (!empty) open.push({ block, oneof: "" });
    } else if (line === "}" && inside?.oneof) inside.oneof = "";
    else if (line === "}") open.pop();
    else if (inside) addRow(inside, line, said);
    else if (line !== "" && !/^(syntax|package|import) /.test(line)) throw new Error(`what is ${line}?`);
  }
  return blocks;
}

function addRow(inside: { readonly block: Block; oneof: string }, line: string, comment: string): void {
  const { rows } = inside.block;
  const oneof = /^oneof (\w+) \{$/.exec(line);
  const rpc = RPC.exec(line);
  const field = FIELD.exec(line);
  const value = VALUE.exec(line);
  if (line === "" || line.startsWith("reserved ")) return;
  if (oneof) {
    inside.oneof = oneof[1] ?? "";
    if (comment) rows.push({ cells: [`*one of* \`${inside.oneof}\``, "", ""], comment });
  } else if (rpc) {
    const [, name, sends = "", request = "", gives = "", response = ""] = rpc;
    rows.push({ cells: [`\`${name}\``, sends + typeLink(request), gives + typeLink(response)], comment });
  } else if (field && inside.block.kind === "message") {
    const [, label = "", type = "", name, number = ""] = field;
    const shown = inside.oneof ? `\`${name}\` (of ${inside.oneof})` : `\`${name}\``;
    rows.push({ cells: [shown, label + typeLink(type), number], comment });
  } else if (value) rows.push({ cells: [`\`${value[1]}\``, value[2] ?? ""], comment });
  else throw new Error(`what is ${line}?`);
}

function typeLink(type: string): string {
  return /^[A-Z]/.test(type) ? `[${type}](#${type.toLowerCase().replaceAll(".", "")})` : `\`${type}\``;
}

const HEADS: Readonly<Record<Block["kind"], readonly string[]>> = {
  service: ["call", "request", "response", ""],
  message: ["field", "type", "number", ""],
  enum: ["value", "number", ""],
};

function escaped(comment: string): string {
  return comment.replaceAll("|", "\\|").replaceAll("<", "&lt;").replaceAll("*", "\\*");
}

function shown({ kind, name, comment, rows }: Block): string {
  const head = HEADS[kind];
  const lines = [`### ${name}`, "", escaped(comment)];
  if (rows.length > 0) {
    lines.push("", `| ${head.join(" | ")} |`, `|${"---|".repeat(head.length)}`);
    for (const row of rows) {
      const said = escaped(row.comment)
        .replaceAll(/\n{2,}/g, "<br>")
        .replaceAll("\n", " ");
      lines.push(`| ${[...row.cells, said].join(" | ")} |`);
    }
  }
  return lines.join("\n");
}

export function apiReference(): string {
  const blocks = FILES.flatMap((name) => {
    const file = fileURLToPath(new URL(`../../proto/arrwdb/v1/${name}.proto`, import.meta.url));
    return blocksOf(readFileSync(file, "utf8"));
  });
  const part = (title: string, kind: Block["kind"]): string[] => [
    `## ${title}`,
    ...blocks.filter((block) => block.kind === kind).map(shown),
  ];
  const intro =
    "Made by `npm run docs` of `proto/arrwdb/v1/*.proto`, package `arrwdb.v1`; [api.md](api.md) is the way in, and has [all reasons of errors](api.md#errors).";
  const sections = [...part("Services", "service"), ...part("Messages", "message"), ...part("Enums", "enum")];
  return `${["# API reference", intro, ...sections].join("\n\n")}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(API_REFERENCE, apiReference());

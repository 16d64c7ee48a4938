import type { Command } from "commander";
import type { Library, LibraryEvent } from "../../client/index.ts";
import { integer } from "../arguments.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { bytes, count, fields, localTime, plain, table } from "../format.ts";
import { toJson } from "../json.ts";
import { paint, print, printJson } from "../terminal.ts";
import { showEvents } from "../watch-events.ts";

interface CreateOptions extends ClientCommandOptions {
  readonly id?: string;
  readonly provider?: string;
  readonly model?: string;
  readonly dimensions?: number;
  readonly indexType?: string;
  readonly metric?: string;
  readonly scalar?: string;
  readonly connectivity?: number;
  readonly expansionAdd?: number;
  readonly expansionSearch?: number;
}

type WatchOptions = ClientCommandOptions & { readonly after?: string };

const EVENT_WIDTH = 22;

export function register(program: Command): void {
  const library = program.command("library").description("create, list, show, watch and delete libraries");
  withClientOptions(library.command("create <name>"))
    .description("create a library")
    .option("--id <id>", "its id; default: made")
    .option("--provider <name>", "who embeds: hashing, openai, cohere or none; default hashing")
    .option("--model <name>", "the provider's model")
    .option("--dimensions <n>", "length of every vector, 1..16384; default 256", integer)
    .option("--metric <name>", "cos, ip or l2sq; default cos")
    .option("--index-type <name>", "hnsw or flat; default hnsw")
    .option("--scalar <name>", "f32, f16, bf16 or i8; default bf16")
    .option("--connectivity <n>", "edges of a node (M), 2..128; default 16", integer)
    .option("--expansion-add <n>", "candidates when adding, 1..10000; default 128", integer)
    .option("--expansion-search <n>", "candidates when searching, 1..10000; default 64", integer)
    .action(create);
  withClientOptions(library.command("list")).description("all libraries, by name").action(list);
  withClientOptions(library.command("get <library>")).description("one library, by id or name").action(get);
  withClientOptions(library.command("delete <library>"))
    .description("delete a library with all its documents; its active jobs fail")
    .action(remove);
  withClientOptions(library.command("watch <library>"))
    .description("show what happens in a library, until Ctrl-C")
    .option("--after <cursor>", "go on behind this event of --json; default: from now on")
    .action(watch);
}

const DEFAULT_DIMENSIONS = 256;

async function create(name: string, options: CreateOptions): Promise<void> {
  const { provider = "", model = "" } = options;
  const hashing = provider === "" || provider === "hashing";
  const dimensions = options.dimensions ?? (hashing ? DEFAULT_DIMENSIONS : 0);
  const request = {
    libraryId: options.id ?? "",
    name,
    embedding: { provider, model, dimensions },
    indexType: options.indexType ?? "",
    indexConfig: {
      metric: options.metric ?? "",
      scalar: options.scalar ?? "",
      connectivity: options.connectivity ?? 0,
      expansionAdd: options.expansionAdd ?? 0,
      expansionSearch: options.expansionSearch ?? 0,
    },
  };
  show(await withClient(options, (client) => client.createLibrary(request)), options);
}

async function get(library: string, options: ClientCommandOptions): Promise<void> {
  show(await withClient(options, (client) => client.getLibrary(library)), options);
}

async function list(options: ClientCommandOptions): Promise<void> {
  const libraries = await withClient(options, async (client) => {
    const all: Library[] = [];
    for await (const each of client.libraries()) {
      if (options.json) printJson(toJson(each));
      else all.push(each);
    }
    return all;
  });
  if (options.json) return;
  if (libraries.length === 0) print("no libraries yet: try `arrw library create NAME`");
  else print(...libraryTable(libraries));
}

async function remove(library: string, options: ClientCommandOptions): Promise<void> {
  const { libraryId, name } = await withClient(options, async (client) => {
    const found = await client.getLibrary(library);
    await client.deleteLibrary(found.libraryId);
    return found;
  });
  if (options.json) printJson({ library_id: libraryId, name, deleted: true });
  else print(`${name} deleted`);
}

async function watch(library: string, options: WatchOptions): Promise<void> {
  const { json = false, after } = options;
  const behind = after === undefined ? {} : { afterCursor: after };
  await withClient(options, (client) =>
    showEvents((resume) => client.watchLibrary(library, { ...behind, ...resume }), eventLine, json),
  );
}

/** "2026-01-31 09:04:50  upserted                a.md" */
export function eventLine({ event, at, documentId, generation }: LibraryEvent): string {
  const [, what = event] = /^document\.(.*)$/.exec(event) ?? [];
  const subject = documentId === "" ? `generation ${generation}` : plain(documentId);
  return [localTime(at), plain(what).padEnd(EVENT_WIDTH), subject].join("  ");
}

function show(library: Library, { json }: ClientCommandOptions): void {
  if (json) printJson(toJson(library));
  else print(...libraryDetails(library));
}

function beingBuilt({ buildingGeneration: building }: Library): string {
  return building > 0n ? `, ${count(building)} is being built` : "";
}

/** "2, until 2026-01-31 09:04:50: arrw index rollback docs" */
function previousText(library: Library): string | undefined {
  const { previousGeneration, previousGenerationExpiresAt: until } = library;
  if (previousGeneration === 0n) return undefined;
  const time = until ? `, until ${localTime(until)}` : "";
  return `${count(previousGeneration)}${time}: \`arrw index rollback ${library.name}\` goes back to it`;
}

export function libraryTable(libraries: readonly Library[]): string[] {
  const rows = libraries.map((each) => [
    each.name,
    count(each.documentCount),
    count(each.chunkCount),
    each.embedding?.provider ?? "",
    count(each.embedding?.dimensions ?? 0),
    each.indexConfig?.metric ?? "",
    bytes(each.diskBytes),
    each.createdAt ? localTime(each.createdAt) : "",
  ]);
  const headings = ["NAME", "DOCUMENTS", "CHUNKS", "PROVIDER", "DIMENSIONS", "METRIC", "ON DISK", "CREATED"];
  const [first = "", ...others] = table(headings, rows);
  return [paint("dim", first), ...others];
}

export function libraryDetails(library: Library): string[] {
  const { embedding, indexConfig: index } = library;
  const removed =
    library.tombstoneCount > 0n ? `, ${count(library.tombstoneCount)} removed ones still in it` : "";
  return [
    paint("bold", library.name),
    ...fields([
      ["id", library.libraryId],
      [
        "embedding",
        embedding && `${embedding.provider} ${embedding.model}, ${embedding.dimensions} dimensions`,
      ],
      ["index", index && `${library.indexType}, ${index.metric}, ${index.scalar}, M ${index.connectivity}`],
      ["candidates", index && `${index.expansionAdd} adding, ${index.expansionSearch} searching`],
      ["documents", count(library.documentCount)],
      ["chunks", count(library.chunkCount)],
      ["vectors", `${count(library.vectorCount)}${removed}`],
      ["generation", `${count(library.generation)}${beingBuilt(library)}`],
      ["before it", previousText(library)],
      ["on disk", bytes(library.diskBytes)],
      ["in memory", library.memoryBytes > 0n ? bytes(library.memoryBytes) : "not loaded"],
      ["created", library.createdAt && localTime(library.createdAt)],
    ]),
  ];
}

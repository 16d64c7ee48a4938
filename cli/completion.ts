import type { Argument, Command, Option } from "commander";

/** What could stand at the end of a command line: from the commands as they are registered. */

export interface Candidate {
  readonly value: string;
  readonly description: string;
}

/** What only a gateway knows. */
export interface DynamicValues {
  of(kind: "library" | "job" | "worker"): Promise<readonly Candidate[]>;
}

export const JOB_TYPES = [
  "batch_delete",
  "batch_export",
  "batch_import",
  "echo",
  "index_optimize",
  "index_rebuild",
  "regenerate_embeddings",
] as const;

const VALUES: Readonly<Record<string, readonly string[]>> = {
  "--status": ["pending", "scheduled", "blocked", "running", "completed", "failed", "cancelled"],
  "--type": JOB_TYPES,
  "--index-type": ["hnsw", "flat"],
  "--metric": ["cos", "ip", "l2sq"],
  "--scalar": ["f32", "f16", "bf16", "i8"],
  "--provider": ["hashing", "openai", "cohere", "none"],
  "--role": ["viewer", "submitter", "admin"],
  type: JOB_TYPES,
  shell: ["bash", "zsh", "fish"],
};
/** Options of some commands that are called as others are elsewhere. */
const OWN_VALUES: Readonly<Record<string, readonly string[]>> = {
  "export --format": ["json", "ndjson", "csv"],
  "import --format": ["ndjson", "json", "csv", "text", "html"],
  "rebuild --type": ["hnsw", "flat"],
};
const DYNAMIC: Readonly<Record<string, "library" | "job" | "worker">> = {
  "--library": "library",
  library: "library",
  job: "job",
  jobs: "job",
  worker: "worker",
};

/**
 * @param words what follows "arrw" up to the cursor; the last one, which may be "", is to be completed
 * @returns none where a file may be meant, or anything
 */
export async function candidates(
  program: Command,
  words: readonly string[],
  dynamic: DynamicValues,
): Promise<Candidate[]> {
  const typed = words.at(-1) ?? "";
  const { command, pending, positions } = walked(program, words.slice(0, -1));
  if (pending) return starting(typed, await valuesOf(command, pending.long ?? "", dynamic));
  const [, name, begun] = /^(--[\w-]+)=(.*)$/.exec(typed) ?? [];
  if (name !== undefined) {
    const values = await valuesOf(command, name, dynamic);
    return starting(begun ?? "", values).map((each) => ({ ...each, value: `${name}=${each.value}` }));
  }
  if (typed.startsWith("-")) return starting(typed, optionsOf(command));
  const subcommands = command.commands.filter((each) => !isHidden(each));
  if (subcommands.length > 0) {
    return starting(
      typed,
      subcommands.map((each) => ({ value: each.name(), description: each.description() })),
    );
  }
  const argument = argumentAt(command, positions);
  return argument ? starting(typed, await valuesOf(command, argument.name(), dynamic)) : [];
}

interface Walked {
  readonly command: Command;
  /** An option whose value comes next. */
  readonly pending: Option | undefined;
  /** Arguments of the command that are there already. */
  readonly positions: number;
}

function walked(program: Command, words: readonly string[]): Walked {
  let command = program;
  let pending: Option | undefined;
  let positions = 0;
  for (const word of words) {
    if (pending) pending = undefined;
    else if (word.startsWith("-")) {
      const option = command.options.find(({ long, short }) => word === long || word === short);
      if (option?.required || option?.optional) pending = option;
    } else {
      const next = command.commands.find((each) => each.name() === word || each.aliases().includes(word));
      if (next) command = next;
      else positions += 1;
    }
  }
  return { command, pending, positions };
}

function optionsOf(command: Command): Candidate[] {
  return command.options
    .filter(({ hidden, long }) => !hidden && long !== undefined)
    .map(({ long, description }) => ({ value: long ?? "", description }));
}

function argumentAt(command: Command, position: number): Argument | undefined {
  const last = command.registeredArguments.at(-1);
  return command.registeredArguments[position] ?? (last?.variadic ? last : undefined);
}

async function valuesOf(command: Command, name: string, dynamic: DynamicValues): Promise<Candidate[]> {
  const known = OWN_VALUES[`${command.name()} ${name}`] ?? VALUES[name];
  if (known) return known.map((value) => ({ value, description: "" }));
  const kind = DYNAMIC[name];
  return kind === undefined ? [] : [...(await dynamic.of(kind))];
}

function starting(prefix: string, all: readonly Candidate[]): Candidate[] {
  // "running,pen": the last of a list.
  const at = prefix.lastIndexOf(",") + 1;
  const [before, begun] = [prefix.slice(0, at), prefix.slice(at)];
  return all
    .filter(({ value }) => value.startsWith(begun))
    .map((each) => ({ ...each, value: `${before}${each.value}` }));
}

function isHidden(command: Command): boolean {
  return command.name().startsWith("__");
}

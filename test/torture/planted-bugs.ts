import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { OWN_SOURCE } from "./run.ts";

/**
 * Bugs that the checks must catch: each takes one guard out of the sources. They are planted in a copy of the source
 * tree; the product itself has no switches.
 */

export interface PlantedBug {
  readonly name: "lease-check" | "expected-sequence" | "outcomes-through" | "index-fence";
  /** What is taken out. */
  readonly guard: string;
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly find: string;
  readonly replace: string;
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: "lease-check",
    guard: "an outcome counts only when it comes from the job's current lease",
    file: "services/scheduler/domain/decide.ts",
    find: 'if (state.job.status !== RUNNING || command.lease !== state.lease) return reject("STALE_LEASE");',
    replace: 'if (state.job.status !== RUNNING) return reject("STALE_LEASE");',
  },
  {
    name: "expected-sequence",
    guard: "an append names what it expects before it",
    file: "platform/nats/publisher.ts",
    find: "const { expectedLastSequence, expectedLastSubjectSequence, messageId, expectedLastMessageId } = options;",
    replace:
      "const { expectedLastSubjectSequence, messageId } = options; const [expectedLastSequence, expectedLastMessageId]: any[] = [];",
  },
  {
    name: "outcomes-through",
    guard: "a new leader takes up OUTCOMES where the one before has stopped",
    file: "services/scheduler/outcomes.ts",
    find: "const { nats, after } = this.#options;",
    replace:
      "const { nats } = this.#options; const after = (await nats.streamInfo(Stream.outcomes)).lastSequence; this.#through = after;",
  },
  {
    name: "index-fence",
    guard: "the index refuses what an old lease writes",
    file: "services/index/library-writer.ts",
    find: "if (refused) throw fenced(claim.jobId, claim.lease, refused);",
    replace: "if (refused) return;",
  },
];

const COPIED = ["services", "platform", "proto", "package.json", "tsconfig.json"];

export interface PlantedTree {
  readonly source: URL;
  remove(): Promise<void>;
}

/** Copies the services' sources to a temporary folder and plants the bug there. @throws when it has no place there */
export async function plant({ name, file, find, replace }: PlantedBug): Promise<PlantedTree> {
  const folder = await mkdtemp(join(tmpdir(), `arrw-planted-${name}-`));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    for (const each of COPIED) {
      await cp(fileURLToPath(new URL(each, OWN_SOURCE)), join(folder, each), { recursive: true });
    }
    await symlink(fileURLToPath(new URL("node_modules", OWN_SOURCE)), join(folder, "node_modules"));
    const path = join(folder, file);
    const parts = (await readFile(path, "utf8")).split(find);
    if (parts.length !== 2) {
      throw new Error(`${name}: ${file} holds ${JSON.stringify(find)} ${parts.length - 1} times, not once`);
    }
    await writeFile(path, parts.join(replace));
    return { source: pathToFileURL(`${folder}/`), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

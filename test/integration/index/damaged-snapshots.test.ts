import assert from "node:assert/strict";
import { copyFile, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pino } from "pino";
import { eventually } from "../../support/eventually.ts";
import {
  documentUpsert,
  libraryRequest,
  seededVector,
  startIndexService,
  TestLibrary,
} from "../../support/index-service.ts";

const DIMENSIONS = 16;
const DOCUMENTS = 150;
const ROUNDS = 48;
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const seed = Math.floor(Math.random() * 2 ** 31);

/** 0..n-1, the same for the same seed and step. */
function chosen(step: number, n: number): number {
  return Math.floor(((seededVector(seed + step, 1)[0] ?? 0) + 1) * 0.5 * n) % n;
}

interface Damage {
  readonly name: string;
  make(path: string, step: number, foreign: string): Promise<void>;
}

/** Flips a bit between two shares of the file. */
const flip = (name: string, from: number, to: number, times = 1): Damage => ({
  name,
  make: async (path, step) => {
    const bytes = await readFile(path);
    const first = Math.floor(bytes.length * from);
    const span = Math.max(1, Math.floor(bytes.length * to) - first);
    for (const i of upTo(times)) {
      const at = first + chosen(step * 100 + i, span);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (i % 8));
    }
    await writeFile(path, bytes);
  },
});

const DAMAGES: readonly Damage[] = [
  flip("a bit flipped in the first bytes", 0, 0.001),
  flip("a bit flipped somewhere", 0, 1),
  flip("a bit flipped in the graph", 0.5, 1),
  flip("seven bits flipped", 0, 1, 7),
  {
    name: "cut",
    make: async (path, step) => {
      const bytes = await readFile(path);
      await writeFile(path, bytes.subarray(0, chosen(step, bytes.length)));
    },
  },
  {
    name: "longer than it was",
    make: async (path, step) =>
      writeFile(path, Buffer.concat([await readFile(path), Buffer.alloc(1 + chosen(step, 5_000), step)])),
  },
  { name: "empty", make: async (path) => writeFile(path, "") },
  { name: "missing", make: async (path) => rm(path) },
  {
    name: "a folder",
    make: async (path) => {
      await rm(path);
      await mkdir(path);
      await writeFile(join(path, "file"), "in it");
    },
  },
  { name: "another library's", make: async (path, _, foreign) => copyFile(foreign, path) },
  {
    name: "a link to itself",
    make: async (path) => {
      await rm(path);
      await symlink(path, path);
    },
  },
  { name: "nothing but zeros", make: async (path) => writeFile(path, Buffer.alloc(20_000)) },
];

test("whatever happens to a snapshot's file: a warning, and the same hits from the stored vectors", async (t) => {
  const warnings: string[] = [];
  const log = pino({ level: "warn" }, { write: (line: string) => void warnings.push(line) });
  // One library may be open: a call to another one closes it.
  const service = await startIndexService({ maxOpen: 1, log });
  t.after(() => service.stop());
  const create = async (id: string, shift: number): Promise<TestLibrary> => {
    const library = await TestLibrary.create(service.client, libraryRequest(id, DIMENSIONS));
    await library.upsert(
      upTo(DOCUMENTS).map((i) => documentUpsert(`d${i}`, [seededVector(shift + i, DIMENSIONS)])),
    );
    return library;
  };
  const library = await create("a", 0);
  const other = await create("b", 1_000);
  const queries = upTo(5).map((i) => seededVector(2_000 + i, DIMENSIONS));
  const answers = (exact: boolean) =>
    Promise.all(
      queries.map(async (query) => {
        const { hits } = await library.search(query, 10, { exact, efSearch: DOCUMENTS });
        return hits.map(({ documentId, score }) => `${documentId} ${score}`);
      }),
    );
  const fileOf = (number: number): Promise<string> =>
    eventually(async () => {
      const folder = join(service.folder, "libraries", String(number), "index");
      const names = await readdir(folder);
      return names.length === 1 && names[0]?.endsWith(".usearch") ? join(folder, names[0]) : undefined;
    });
  const expected = await answers(true);
  const foreign = await fileOf(2);
  for (const step of upTo(ROUNDS)) {
    const damage = DAMAGES[step % DAMAGES.length] as Damage;
    await other.search(seededVector(1, DIMENSIONS), 1);
    await damage.make(await fileOf(1), step, foreign);
    const before = warnings.length;
    const what = `${damage.name} (seed ${seed}, step ${step})`;
    assert.deepEqual(await answers(false), expected, what);
    assert.deepEqual(await answers(true), expected, what);
    assert.equal(warnings.length, before + 1, what);
    assert.match(warnings.at(-1) ?? "", /the index is rebuilt from the stored vectors/, what);
  }
});

import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Store } from "./store.ts";

/** Makes the folder of a library's index files, and removes from it what no row names: left there by a crash. */
export async function prepareFiles(store: Store, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const named = new Set([...store.snapshots.getRange()].map(({ value }) => value.file));
  const strange = (await readdir(folder)).filter((name) => !named.has(name));
  await Promise.all(strange.map((name) => rm(join(folder, name), { force: true, recursive: true })));
}

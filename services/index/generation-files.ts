import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Store } from "./store.ts";

/** The name of an index's file: nobody else's begins with its generation. */
export function snapshotName(generation: number, change: number, addedThrough: number): string {
  return `${generation}-${change}-${addedThrough}.usearch`;
}

/** Makes the folder of a library's index files, and removes from it what no row names: left there by a crash. */
export async function prepareFiles(store: Store, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const named = new Set([...store.snapshots.getRange()].map(({ value }) => value.file));
  await remove(folder, (name) => !named.has(name));
}

/** Removes the files of a generation that is gone. */
export async function removeFilesOf(generation: number, folder: string): Promise<void> {
  await remove(folder, (name) => name.startsWith(`${generation}-`));
}

async function remove(folder: string, which: (name: string) => boolean): Promise<void> {
  const names = (await readdir(folder)).filter(which);
  await Promise.all(names.map((name) => rm(join(folder, name), { force: true, recursive: true })));
}

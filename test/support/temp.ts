import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What `node:test` gives a test: things to do after it. */
export interface Cleanup {
  after(run: () => Promise<void> | void): void;
}

/** A new folder, removed after the test. */
export async function tempDir(t: Cleanup): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "arrw-test-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }));
  return folder;
}

import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { type ApiKey, type ApiKeyFile, formatApiKeyFile, parseApiKeyFile } from "../platform/api-keys.ts";

/** The file of API keys as `arrw keys` reads and changes it. */

const OWNER_ONLY = 0o600;

/** @throws Error in words for a user, also when the file is not there */
export function readApiKeys(path: string): ApiKeyFile {
  return readIfThere(path) ?? fail(`${path}: no such file; \`arrw keys create\` makes it`);
}

/**
 * Changes the keys, all or nothing: readers see the file before or after it. A new file is for its owner's eyes; one that
 * is there keeps its owner. @throws Error in words for a user; the file is as it was then
 */
export function changeApiKeys(path: string, change: (keys: readonly ApiKey[]) => ApiKey[]): void {
  const target = resolved(path);
  const draft = `${target}.new`;
  const file = openDraft(draft);
  try {
    const before = readIfThere(target);
    const text = formatApiKeyFile({ keys: change(before?.keys ?? []) });
    parseApiKeyFile(text);
    writeSync(file, text);
    fsyncSync(file);
    keepOwner(target, draft);
    renameSync(draft, target);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

/** The draft is the lock, too: of two changes at the same time one would be lost. */
function openDraft(draft: string): number {
  try {
    const file = openSync(draft, "wx", OWNER_ONLY);
    chmodSync(draft, OWNER_ONLY);
    return file;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EEXIST")
      return fail(`${draft} is there: another arrw keys is at work; if none is, remove that file`);
    return fail(`${draft} can't be written: ${message}`);
  }
}

function readIfThere(path: string): ApiKeyFile | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    return fail(`${path} can't be read: ${message}`);
  }
  try {
    return parseApiKeyFile(text);
  } catch (error) {
    return fail(`${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Renaming onto a symbolic link would replace the link. */
function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** The administrator's command must not take the file away from the gateway's user. */
function keepOwner(target: string, draft: string): void {
  try {
    const { uid, gid } = statSync(target);
    chownSync(draft, uid, gid);
  } catch {
    // There is no file yet, or we may not give ours away.
  }
}

function fail(message: string): never {
  throw new Error(message);
}

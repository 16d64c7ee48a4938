import { accessSync, constants, mkdirSync } from "node:fs";
import { join } from "node:path";
import { ArrwError } from "../platform/errors.ts";
import { acquirePidLock, type PidLock } from "../platform/pid-lock.ts";

/**
 * Makes the data folder and takes it for this process; a lock that a dead process left is taken over.
 * @throws ArrwError FAILED_PRECONDITION: DATA_DIR_UNWRITABLE, DATA_DIR_IN_USE
 */
export function takeDataDir(folder: string): PidLock {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK | constants.X_OK);
    return acquirePidLock(join(folder, "arrw.lock"));
  } catch (error) {
    if (error instanceof ArrwError) {
      const holder = error.metadata.pid ?? "unknown";
      throw refuse(
        "DATA_DIR_IN_USE",
        `data folder ${folder} is in use by another arrw up (process ${holder})`,
      );
    }
    const { code = "", message } = error as NodeJS.ErrnoException;
    const why = MEANING[code] ?? message;
    const reason = `data folder ${folder} can't be written (${why}); set ARRW_DATA_DIR to another one`;
    throw refuse("DATA_DIR_UNWRITABLE", reason);
  }
}

const MEANING: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "permission denied",
  EEXIST: "it is not a folder",
  ENOTDIR: "it is not a folder",
  EROFS: "read-only file system",
  ENOSPC: "no space left",
};

const refuse = (reason: string, message: string): ArrwError =>
  new ArrwError("FAILED_PRECONDITION", message, { reason });

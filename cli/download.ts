import { createHash, type Hash } from "node:crypto";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { access, constants, type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Command } from "commander";
import { type ArrwClient, type ExportPiece, type Job, JobStatus } from "../client/index.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "./connection.ts";
import { downloadMeter } from "./download-meter.ts";
import { UsageError } from "./failure.ts";
import { bytes, plain } from "./format.ts";
import { note, paint, print, printJson } from "./terminal.ts";
import { downloadCommand, INTERRUPTED, untilInterrupted } from "./watch-job.ts";

/** The file of an export, from the gateway to the disk. */

export const STDOUT = "-";

export interface DownloadOptions extends ClientCommandOptions {
  readonly output: string;
}

/** arrw jobs download */
export function registerDownload(jobs: Command): void {
  withClientOptions(jobs.command("download <job>"))
    .description("the file of a completed batch_export; goes on with one that was broken off")
    .requiredOption("-o, --output <file>", 'where to; "-" = stdout')
    .action(run);
}

async function run(jobId: string, options: DownloadOptions): Promise<void> {
  checkOutput(options);
  await withClient(options, async (client) => {
    await checkTarget(options.output);
    await download(client, await client.get(jobId), options);
  });
}

/** @throws Error when the two would get into each other's way */
export function checkOutput({ output, json }: Pick<DownloadOptions, "output" | "json">): void {
  if (output === STDOUT && json) throw new UsageError("--json: not while the file goes to stdout");
}

/** Before anything is made that could then not be stored. @throws Error */
export async function checkTarget(output: string): Promise<void> {
  if (output === STDOUT) return;
  const found = await stat(output).catch(() => undefined);
  if (found?.isDirectory()) throw new UsageError(`${output}: a folder; name a file in it`);
  await access(dirname(output), constants.W_OK).catch((cause: unknown) => {
    throw new UsageError(`${dirname(output)}: no such folder, or it can't be written to`, cause);
  });
}

/** Downloads, checks and says so. Sets the exit code when it is interrupted. */
export async function download(client: ArrwClient, job: Job, options: DownloadOptions): Promise<void> {
  const { output, json = false } = options;
  const wanted = fileOf(job);
  const meter = downloadMeter(wanted.size);
  const ended = await untilInterrupted(async (signal) => {
    try {
      const onInterrupted = ({ message }: Error): void => meter.interrupted(message);
      const pieces = (offset: number) => client.downloadExport(job.jobId, { offset, signal, onInterrupted });
      if (await isStream(output)) await toStream(pieces(0), output, wanted, meter.show);
      else await toFile(pieces, output, wanted, meter.show);
      return true;
    } catch (error) {
      if (!signal.aborted) throw error;
      return false;
    } finally {
      meter.close();
    }
  });
  if (!ended) {
    process.exitCode = INTERRUPTED;
    note("", "stopped; go on with", `  ${downloadCommand(job.jobId, output, options.address)}`);
  } else if (json) printJson({ file: output, bytes: wanted.size, sha256: wanted.sha256 });
  else if (output !== STDOUT) {
    print(`${paint("green", "saved")}  ${plain(output)}, ${bytes(wanted.size)}, sha256 ${wanted.sha256}`);
  }
}

interface WantedFile {
  readonly size: number;
  /** Hex. */
  readonly sha256: string;
}

function fileOf(job: Job): WantedFile {
  const result = job.result?.result;
  if (job.type !== "batch_export") throw new UsageError(`job ${job.jobId} is a ${job.type}: it has no file`);
  if (job.status !== JobStatus.JOB_STATUS_COMPLETED || result?.$case !== "batchExport") {
    throw new Error(`job ${job.jobId} has not completed: there is no file of it`);
  }
  return { size: Number(result.value.fileSizeBytes), sha256: result.value.sha256 };
}

/** A pipe or a device has no place to go on from, and is never replaced. */
async function isStream(output: string): Promise<boolean> {
  if (output === STDOUT) return true;
  const found = await stat(output).catch(() => undefined);
  return found !== undefined && !found.isFile();
}

type Show = (done: number) => void;

async function toStream(
  pieces: AsyncIterable<ExportPiece>,
  output: string,
  wanted: WantedFile,
  show: Show,
): Promise<void> {
  const hash = createHash("sha256");
  const device = output === STDOUT ? undefined : await open(output, "w");
  try {
    for await (const { data, offset } of pieces) {
      hash.update(data);
      if (device) await device.writeFile(data);
      else if (data.length > 0 && !process.stdout.write(data)) await once(process.stdout, "drain");
      show(offset + data.length);
    }
  } finally {
    await device?.close();
  }
  if (hash.digest("hex") !== wanted.sha256) throw damaged();
}

/** Into a file beside it, whose name tells what it is the beginning of; it gets its own name when all is there. */
async function toFile(
  pieces: (offset: number) => AsyncIterable<ExportPiece>,
  output: string,
  wanted: WantedFile,
  show: Show,
): Promise<void> {
  const part = `${output}.${wanted.sha256.slice(0, 12)}.part`;
  const file = await open(part, "a");
  try {
    const { hash, size } = await readBack(file, part, wanted);
    show(size);
    for await (const { data, offset } of pieces(size)) {
      hash.update(data);
      await file.writeFile(data);
      show(offset + data.length);
    }
    await file.sync();
    if (hash.digest("hex") !== wanted.sha256) {
      await rm(part, { force: true });
      throw damaged();
    }
  } finally {
    await file.close();
  }
  await rename(part, output);
}

/** What an earlier download left. */
async function readBack(
  file: FileHandle,
  part: string,
  wanted: WantedFile,
): Promise<{ readonly hash: Hash; readonly size: number }> {
  const hash = createHash("sha256");
  const { size } = await file.stat();
  if (size > wanted.size) {
    await file.truncate(0);
    return { hash, size: 0 };
  }
  for await (const data of createReadStream(part)) hash.update(data as Buffer);
  return { hash, size };
}

function damaged(): Error {
  return new Error("what came is not what was exported (its sha256 differs): download it again");
}

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Database, type Key, open, type RootDatabase } from "lmdb";
import { LRUCache } from "lru-cache";
import type { Job } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { requestKeyOf } from "./domain/scope.ts";
import { isActive, type JobState } from "./domain/state.ts";
import { libraryKey } from "./selection.ts";

/** How the store lies on disk: the rows, and a key order for everything that is looked for. */

/** How far the store goes. */
export interface Through {
  /** When the journal stream was made. */
  readonly streamCreatedAt: string;
  readonly sequence: number;
  /** SHA-256 (hex) of that sequence's batch. */
  readonly checksum: string;
}

/** Changes with every key order or row; a store of another format is deleted and rebuilt. */
const FORMAT = "2";
export const HEADER_BYTES = 8;
/** LMDB throws on a key that is too long, and no job has one. */
export const MAX_ID_LENGTH = 200;
/** Sorts behind every job id. */
export const BEHIND_ALL = "\u{10ffff}";
const KNOWN_LABELS = 10_000;

export class StoreFiles {
  readonly root: RootDatabase;
  /** jobId -> sequence (f64 BE), then the journal record. */
  readonly jobs: Database<Buffer, string>;
  /**
   * [library, type, status, jobId] -> "": lists of one library, or of those that somebody sees. Jobs of several stand under
   * SEVERAL_LIBRARIES, jobs without one are not in it.
   */
  readonly byLibrary: Database<string, Key[]>;
  /** [type, status, jobId] -> "": all other lists; there are few types. */
  readonly byKind: Database<string, Key[]>;
  /** [digest of a label, jobId] -> "" */
  readonly byLabel: Database<string, Key[]>;
  /** request_id within its scope -> jobId. */
  readonly requests: Database<string, string>;
  /** Jobs that a restart loads into memory. */
  readonly active: Database<string, string>;
  /** [completedAt ms, jobId] -> "": the order of retention. */
  readonly ended: Database<string, Key[]>;
  readonly counts: Database<number, Key[]>;
  readonly bytes: Database<number, string>;
  readonly meta: Database<Through, string>;

  /** @throws Error when the files there have another format */
  constructor(path: string, options: { readonly readOnly: boolean } = { readOnly: false }) {
    const { readOnly } = options;
    if (!readOnly) checkFormat(path);
    this.root = open({ path, maxDbs: 12, encoding: "binary", noMemInit: true, readOnly });
    this.jobs = this.root.openDB({ name: "jobs", encoding: "binary" });
    this.byLibrary = this.root.openDB({ name: "byLibrary", encoding: "string" });
    this.byKind = this.root.openDB({ name: "byKind", encoding: "string" });
    this.byLabel = this.root.openDB({ name: "byLabel", encoding: "string" });
    this.requests = this.root.openDB({ name: "requests", encoding: "string" });
    this.active = this.root.openDB({ name: "active", encoding: "string" });
    this.ended = this.root.openDB({ name: "ended", encoding: "string" });
    this.counts = this.root.openDB({ name: "counts", encoding: "json" });
    this.bytes = this.root.openDB({ name: "bytes", encoding: "json" });
    this.meta = this.root.openDB({ name: "meta", encoding: "json" });
  }

  putKeys(before: JobState | undefined, state: JobState): void {
    const { jobId, type, status, labels } = state.job;
    const libraryId = libraryKey(state.job);
    const request = requestKeyOf(state);
    if (!before || !sameGroup(before.job, state.job)) {
      if (libraryId !== "") void this.byLibrary.put([libraryId, type, status, jobId], "");
      void this.byKind.put([type, status, jobId], "");
    }
    // A job keeps its labels and its request_id; another one that has taken its id is no longer the same job.
    for (const [key, value] of Object.entries(labels)) {
      if (before?.job.labels[key] !== value) void this.byLabel.put([labelDigest(key, value), jobId], "");
    }
    if (request !== undefined && (!before || requestKeyOf(before) !== request)) {
      void this.requests.put(request, jobId);
    }
    const same = before && isActive(before) === isActive(state) && endedMs(before.job) === endedMs(state.job);
    if (same) return;
    if (isActive(state)) void this.active.put(jobId, "");
    else void this.ended.put(endedKey(state.job), "");
  }

  removeKeys(before: JobState, after: JobState | undefined): void {
    const { jobId, type, status, labels } = before.job;
    const libraryId = libraryKey(before.job);
    const request = requestKeyOf(before);
    if (!after || !sameGroup(before.job, after.job)) {
      if (libraryId !== "") void this.byLibrary.remove([libraryId, type, status, jobId]);
      void this.byKind.remove([type, status, jobId]);
    }
    for (const [key, value] of Object.entries(labels)) {
      if (after?.job.labels[key] !== value) void this.byLabel.remove([labelDigest(key, value), jobId]);
    }
    if (request !== undefined && (!after || requestKeyOf(after) !== request)) {
      void this.requests.remove(request);
    }
    if (isActive(before)) {
      if (!after || !isActive(after)) void this.active.remove(jobId);
    } else if (!after || isActive(after) || endedMs(after.job) !== endedMs(before.job)) {
      // A retry takes an ended job back; it ends anew later.
      void this.ended.remove(endedKey(before.job));
    }
  }

  /** Deletes everything. */
  clear(): void {
    const { jobs, byLibrary, byKind, byLabel, requests, active, ended, counts, bytes, meta } = this;
    for (const db of [jobs, byLibrary, byKind, byLabel, requests, active, ended, counts, bytes, meta]) {
      db.clearSync();
    }
  }
}

function checkFormat(path: string): void {
  const file = join(path, "format");
  const there = existsSync(join(path, "data.mdb"));
  const format = existsSync(file) ? readFileSync(file, "utf8") : "1";
  if (there && format !== FORMAT)
    throw new Error(`the store has format ${format}, this release writes ${FORMAT}`);
  mkdirSync(path, { recursive: true });
  writeFileSync(file, FORMAT);
}

function sameGroup(a: Job, b: Job): boolean {
  return a.status === b.status && a.type === b.type && a.libraryId === b.libraryId;
}

function endedMs(job: Job): number {
  return job.completedAt?.getTime() ?? 0;
}

function endedKey(job: Job): Key[] {
  return [endedMs(job), job.jobId];
}

const digests = new LRUCache<string, string>({ max: KNOWN_LABELS });

/** A short key of a label, however long it is. */
export function labelDigest(key: string, value: string): string {
  const label = `${key}\u0000${value}`;
  const known = digests.get(label);
  if (known !== undefined) return known;
  const digest = createHash("sha256").update(label).digest("base64url").slice(0, 22);
  digests.set(label, digest);
  return digest;
}

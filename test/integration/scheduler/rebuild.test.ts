import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Nats, StreamInfo } from "../../../platform/nats/connection.ts";
import type { StreamMessage } from "../../../platform/nats/tail.ts";
import { JournalBatch, JournalRecord } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { rebuild } from "../../../services/scheduler/rebuild.ts";
import { JobStore } from "../../../services/scheduler/store.ts";
import { JournalTooNew, type Position } from "../../../services/scheduler/takeover.ts";
import { tempDir } from "../../support/temp.ts";
import { type Fields, id, stateOf } from "./open-store.ts";

const { JOB_STATUS_PENDING: PENDING, JOB_STATUS_COMPLETED: COMPLETED } = JobStatus;

/** A journal in memory, from sequence 1 on. */
class Journal implements Pick<Nats, "readToEnd" | "streamInfo"> {
  readonly batches: Uint8Array[] = [];
  /** What each job is after the last batch. */
  readonly jobs = new Map<string, Fields>();

  append(records: readonly (readonly [jobId: string, fields: Fields | undefined])[], version = 1): void {
    const encoded = records.map(([jobId, fields]) => {
      if (fields) this.jobs.set(jobId, fields);
      else this.jobs.delete(jobId);
      const state = fields && stateOf(jobId, fields);
      return JournalRecord.encode(
        JournalRecord.fromPartial({ jobId, revision: 1n, state } as never),
      ).finish();
    });
    const sequence = this.batches.length + 1;
    const batch = { version, records: encoded as Buffer[], lastLease: BigInt(sequence), outcomesThrough: 7n };
    this.batches.push(JournalBatch.encode(JournalBatch.fromPartial(batch)).finish());
  }

  async streamInfo(): Promise<StreamInfo> {
    const last = this.batches.length;
    return { firstSequence: 1, lastSequence: last, bytes: 0, messages: last, createdAt: "now" };
  }

  async readToEnd(
    _stream: string,
    from: number,
    onMessage: (message: StreamMessage) => void,
  ): Promise<number> {
    const last = this.batches.length;
    for (let sequence = from; sequence <= last; sequence++) {
      const data = this.batches[sequence - 1] as Uint8Array;
      onMessage({ sequence, subject: "journal", data, pending: last - sequence });
    }
    return last;
  }
}

function start(): Position {
  const nothing = { bytes: new Uint8Array(0), outcomesThrough: 0, lastLease: 0n, queues: [], lastAtMs: 0 };
  return { streamCreatedAt: "now", sequence: 0, ...nothing };
}

/** 250 batches: 6,000 jobs that are submitted, ended, deleted, and taken up again, so that several chunks are written. */
function longJournal(): Journal {
  const journal = new Journal();
  for (let n = 0; n < 250; n++) {
    const ids = Array.from({ length: 50 }, (_, k) => (n * 24 + k) % 6_000);
    journal.append(
      ids.map((k) => {
        if (k % 7 === 0 && journal.jobs.has(id(k))) return [id(k), undefined];
        const status = (n + k) % 5 === 0 ? PENDING : COMPLETED;
        const rest = { requestId: k % 3 === 0 ? `request-${k}` : "", completedAt: new Date(k) };
        return [id(k), { status, libraryId: `library-${k % 4}`, labels: { k: String(k % 9) }, ...rest }];
      }),
    );
  }
  return journal;
}

async function check(store: JobStore, journal: Journal): Promise<void> {
  const expected = [...journal.jobs.keys()].sort().reverse();
  const page = await store.list(undefined, 10_000, "");
  assert.deepEqual(
    page.jobs.map(({ jobId }) => jobId),
    expected,
  );
  assert.equal(store.counts.total(undefined), expected.length);
  const active = expected.filter((jobId) => journal.jobs.get(jobId)?.status === PENDING);
  assert.deepEqual(store.activeJobIds().reverse(), active);
  assert.equal(store.oldestEnded(10_000, 1e9).length, expected.length - active.length);
  for (const [jobId, { requestId = "" }] of journal.jobs) {
    if (requestId !== "") assert.equal(store.jobIdOfRequest(requestId), jobId);
  }
}

test("a store that is far behind comes to the journal's end, in one go or with an interruption", async (t) => {
  const journal = longJournal();
  const path = join(await tempDir(t), "store");
  for (const interrupted of [false, true]) {
    let store = new JobStore(path);
    const position = start();
    if (interrupted) {
      const abort = new AbortController();
      const { readToEnd } = journal;
      journal.readToEnd = (stream, from, onMessage) =>
        readToEnd.call(journal, stream, from, (message) => {
          if (message.sequence === 240) abort.abort();
          onMessage(message);
        });
      await assert.rejects(rebuild(journal, store, position, abort.signal), { name: "AbortError" });
      journal.readToEnd = readToEnd;
      await store.close();
      store = new JobStore(path);
      const through = store.through()?.sequence ?? 0;
      assert.ok(through > 0 && through < 240, `it goes through ${through}`);
      for (let n = 0; n < 200; n++) journal.append([[id(n), undefined]]);
      position.sequence = through;
    }
    await rebuild(journal, store, position);
    const { sequence, lastLease, outcomesThrough } = position;
    const last = journal.batches.length;
    assert.deepEqual([sequence, lastLease, outcomesThrough], [last, BigInt(last), 7]);
    assert.equal(store.through()?.sequence, last);
    await check(store, journal);
    await store.close();
    store = new JobStore(path);
    await check(store, journal);
    await store.destroy();
  }
});

test("a store that lacks little is left as it is", async (t) => {
  const journal = new Journal();
  for (let n = 0; n < 50; n++) journal.append([[id(n), {}]]);
  const store = new JobStore(join(await tempDir(t), "store"));
  t.after(() => store.close());
  const position = start();
  await rebuild(journal, store, position);
  assert.deepEqual([position.sequence, store.through()], [0, undefined]);
});

test("a journal with a hole, or of a newer release, is not taken up", async (t) => {
  const store = new JobStore(join(await tempDir(t), "store"));
  t.after(() => store.close());
  const journal = longJournal();
  const { readToEnd } = journal;
  journal.readToEnd = (stream, from, onMessage) => readToEnd.call(journal, stream, from + 3, onMessage);
  await assert.rejects(rebuild(journal, store, start()), { code: "UNAVAILABLE" });
  journal.readToEnd = readToEnd;
  journal.append([[id(1), {}]], 99);
  await assert.rejects(rebuild(journal, store, start()), JournalTooNew);
});

test("rows without a word on how far they go are dropped; a store of another format is refused", async (t) => {
  const path = join(await tempDir(t), "store");
  const journal = longJournal();
  let store = new JobStore(path);
  const state = stateOf(id(1), {});
  const bytes = JournalRecord.encode(JournalRecord.fromPartial({ jobId: id(1), state } as never)).finish();
  store.counts.move(undefined, state);
  // More rows than one transaction takes, and then one that can't be written.
  for (let n = 0; n < 600; n++) {
    const requestId = n === 599 ? "x".repeat(5_000) : "";
    const row = n === 599 ? stateOf(id(n), { requestId }) : stateOf(id(n), {});
    store.write(id(n), { sequence: 1, bytes, state: row, presence: { stored: false } });
  }
  await assert.rejects(store.flush(() => ({ streamCreatedAt: "now", sequence: 1, checksum: "c" })));
  await store.close();
  store = new JobStore(path);
  assert.deepEqual([store.counts.total(undefined), store.get(id(1)), store.liveBytes], [0, undefined, 0]);
  await rebuild(journal, store, start());
  await check(store, journal);
  await store.close();
  await writeFile(join(path, "format"), "1");
  assert.throws(() => new JobStore(path), /format 1/);
  await rm(path, { recursive: true });
  assert.ok(!existsSync(path));
});

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  boundedItem,
  ITEMS_PER_PART,
  itemsOf,
  readItemsPart,
  writeItemsPart,
} from "../../../platform/nats/job-items.ts";
import { jobOfObject, ObjectId } from "../../../platform/nats/names.ts";

const NATS_LIMIT_BYTES = 1024 * 1024;

test("a part of the longest items fits into a message; its counts are those of its items", async () => {
  const longest = "\u4e16".repeat(5_000);
  const items = Array.from({ length: ITEMS_PER_PART }, (_, n) => {
    const error = { code: "DOCUMENT_TOO_LARGE", message: longest, retryable: false };
    const failed = n % 2 === 0;
    const fields = { ordinal: 2n ** 50n + BigInt(n), documentId: longest, title: longest, libraryId: "" };
    const item = boundedItem({
      ...fields,
      outcome: failed ? "failed" : n === 1 ? "" : "ok",
      error: failed ? error : undefined,
    });
    return { item, chunks: 10 };
  });
  let stored: Uint8Array = new Uint8Array(0);
  const append = async (_subject: string, data: Uint8Array): Promise<number> => {
    stored = data;
    return 7;
  };
  assert.equal(await writeItemsPart({ append }, "j", 0, { lease: 3n, items, sequence: 0 }), 7);
  assert.ok(stored.length < NATS_LIMIT_BYTES, `${stored.length} bytes`);
  const getMessage = async () => ({ sequence: 7, data: stored, timeMs: 0 });
  const read = await readItemsPart({ getMessage }, "j", 0);
  assert.ok(read);
  const { lease, ok, failed, chunks } = read.part;
  assert.deepEqual([lease, ok, failed, chunks], [3n, 124, 125, 2_500n]);
  assert.deepEqual(
    itemsOf(read.part).map(({ item }) => item?.ordinal),
    items.map(({ item }) => item.ordinal),
  );
});

test("objects beside a payload know their job", () => {
  const jobId = "0190-4a-items";
  for (const objectId of [ObjectId.items(jobId), ObjectId.export(jobId)]) {
    assert.equal(jobOfObject(objectId), jobId);
  }
  assert.equal(jobOfObject("0190-4a"), "0190-4a");
});

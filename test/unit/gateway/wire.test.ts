import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { JournalBatch, JournalRecord } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import {
  fieldBytes,
  lastFieldBytes,
  leadingString,
  lengthDelimited,
} from "../../../services/gateway/wire.ts";

test("records of a batch are found as they were written", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (payloads) => {
      const records = payloads.map((payload) => Buffer.from(payload));
      const batch = JournalBatch.fromPartial({
        version: 1,
        epoch: 2n,
        lastLease: 3n,
        leaderAddress: "a:1",
        records,
      });
      const bytes = JournalBatch.encode(batch).finish();
      assert.deepEqual(
        fieldBytes(bytes, 6).map((value) => Buffer.from(value)),
        records,
      );
      assert.equal(Buffer.from(lastFieldBytes(bytes, 5) ?? []).toString(), "a:1");
      assert.equal(lastFieldBytes(bytes, 9), undefined);
    }),
  );
});

test("the job of a record is read without the rest", () => {
  const record = JournalRecord.encode(JournalRecord.fromPartial({ jobId: "0190-a", revision: 7n })).finish();
  assert.equal(leadingString(record, 1), "0190-a");
  const other = JournalRecord.encode(JournalRecord.fromPartial({ revision: 7n })).finish();
  assert.equal(leadingString(other, 1), undefined);
  assert.equal(leadingString(new Uint8Array(), 1), undefined);
  assert.equal(leadingString(new Uint8Array([0x0a, 0x05, 0x61]), 1), undefined);
});

test("a message made of encoded fields is read as any other", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 20_000 }), { maxLength: 4 }), (values) => {
      const message = lengthDelimited(values.map((value, n) => [n + 1, value]));
      for (const [n, value] of values.entries()) {
        assert.deepEqual(Buffer.from(lastFieldBytes(message, n + 1) ?? []), Buffer.from(value));
      }
    }),
    { numRuns: 50 },
  );
});

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { JournalRecord } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { Job, JobFilter } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { formatToken, parseToken } from "../../../services/scheduler/page-token.ts";
import { jobMatches, RowFilter } from "../../../services/scheduler/row-filter.ts";

const word = fc.constantFrom("a", "b", "ä€", "", "constructor", "x".repeat(200));
const labels = fc.dictionary(word, word, { maxKeys: 4 });
const time = fc.integer({ min: 0, max: 3 }).map((n) => new Date(1_700_000_000_000 + n));
const status = fc.integer({ min: 1, max: 7 });

const anyJob = fc
  .record({
    jobId: word,
    type: word,
    status,
    libraryId: word,
    libraryIds: fc.array(word, { maxLength: 2 }),
    labels,
    createdAt: fc.option(time, { nil: undefined }),
    requestId: word,
    revision: fc.bigInt({ min: 0n, max: 2n ** 62n }),
    itemCount: fc.bigInt({ min: 0n, max: 1_000n }),
    maxRetries: fc.integer({ min: -1, max: 300 }),
    spec: fc.constant({ spec: { $case: "echo", value: { message: "m" } } }),
    progress: fc.constantFrom(undefined, { percentage: 12.5, message: "half" }),
  })
  .map((fields) => Job.fromPartial(fields as never));
/** Mostly what filters nothing out, so that some jobs are taken. */
function seldom<T>(arbitrary: fc.Arbitrary<T>, otherwise: T): fc.Arbitrary<T> {
  return fc.oneof({ weight: 1, arbitrary }, { weight: 2, arbitrary: fc.constant(otherwise) });
}

const anyFilter = fc
  .record({
    statuses: seldom(fc.array(status, { maxLength: 3 }), []),
    types: seldom(fc.array(word, { maxLength: 2 }), []),
    libraryId: seldom(word, ""),
    labels: seldom(fc.dictionary(word, word, { maxKeys: 2 }), {}),
    createdAfter: fc.option(time, { nil: undefined }),
    createdBefore: fc.option(time, { nil: undefined }),
  })
  .map((fields) => JobFilter.fromPartial(fields as never));

const pattern = fc.constantFrom("a", "a*", "b", "ä*", "*", "", "x".repeat(200));
const anySelection = fc
  .tuple(anyFilter, seldom(fc.array(pattern, { maxLength: 3 }), []))
  .map(([filter, visibleLibraries]) => ({ ...filter, visibleLibraries }));

describe("a filter on encoded records", () => {
  test("takes the same jobs as on decoded ones", () => {
    let taken = 0;
    fc.assert(
      fc.property(anyJob, anySelection, fc.nat(20), (job, filter, from) => {
        const state = {
          job,
          checkpoint: Buffer.from("here"),
          requestDigest: Buffer.from("digest"),
          lease: 7n,
        };
        const record = JournalRecord.encode(
          JournalRecord.fromPartial({ jobId: job.jobId, revision: 3n, event: "job.ended", state } as never),
        ).finish();
        const row = Buffer.concat([Buffer.alloc(from, 255), record]);
        const expected = jobMatches(Job.decode(Job.encode(job).finish()), filter);
        assert.equal(new RowFilter(filter).matches(row, from), expected);
        taken += Number(expected);
      }),
      { numRuns: 2_000 },
    );
    assert.ok(taken > 100, `${taken} jobs were taken`);
  });

  test("takes no tombstone", () => {
    const record = JournalRecord.encode(JournalRecord.fromPartial({ jobId: "j", revision: 2n })).finish();
    assert.equal(new RowFilter(JobFilter.fromPartial({})).matches(record), false);
  });
});

describe("page tokens", () => {
  test("come back as they were made, with the same filter only", () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.option(fc.nat(), { nil: undefined }),
        anyFilter,
        anyFilter,
        (before, total, filter, other) => {
          const token = formatToken({ before, total }, filter);
          assert.deepEqual(parseToken(token, JobFilter.decode(JobFilter.encode(filter).finish())), {
            before,
            total,
          });
          const others = { ...other, libraryId: `${filter.libraryId}!` };
          assert.throws(() => parseToken(token, others), { code: "INVALID_ARGUMENT" });
          const confined = { ...filter, visibleLibraries: ["a"] };
          assert.throws(() => parseToken(token, confined), { code: "INVALID_ARGUMENT" });
        },
      ),
    );
  });

  test("that are none are refused, whatever they are", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.base64String()), (token) => {
        assert.throws(() => parseToken(token, undefined), { code: "INVALID_ARGUMENT" });
      }),
    );
  });
});

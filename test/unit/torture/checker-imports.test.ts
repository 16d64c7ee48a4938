import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "../../torture/checker.ts";
import type { Entry, ImportEntry, JobView, StoredDocument } from "../../torture/history.ts";
import { history, job, outcome, record, reported } from "./histories.ts";

/** What imports have left behind. */

/** An import of two documents with two chunks each, from its submit to its end. */
function imported(
  name: string,
  lease: number,
  fields: Partial<JobView> = {},
): { records: ReturnType<typeof record>[]; entries: Entry[] } {
  const all = { jobId: name, body: name, type: "batch_import", libraryId: "library", ...fields };
  const result = { imported: 2, failed: 0, chunks: 4 };
  const end = fields.status ?? "COMPLETED";
  const records = [
    record("job.submitted", job("PENDING", 1, { ...all, status: "PENDING" })),
    record("job.started", job("RUNNING", 2, { ...all, status: "RUNNING" }), { lease }),
    record(end === "COMPLETED" ? "job.completed" : "job.cancelled", job(end, 3, { result, ...all })),
  ];
  const body: ImportEntry = {
    kind: "importBody",
    body: name,
    libraryId: "library",
    documentIds: ["a", "b"],
    chunksPerDocument: 2,
  };
  const report = end === "COMPLETED" ? "completed" : "cancelled";
  return { records, entries: [body, outcome(lease, report, lease, { jobId: name })] };
}

function stored(...documents: readonly StoredDocument[]): Entry {
  const chunkCount = documents.reduce((sum, { chunks }) => sum + chunks, 0);
  return { kind: "library", libraryId: "library", documentCount: documents.length, chunkCount, documents };
}

function written(documentId: string, body: string, chunks = 2): StoredDocument {
  return { documentId, bodies: [body], chunks };
}

function imports(parts: readonly ReturnType<typeof imported>[], ...more: readonly Entry[]): Entry[] {
  const records = parts.flatMap((part) => part.records);
  return history(records, ...parts.flatMap((part) => part.entries), ...more).filter(
    (entry) => entry.kind !== "outcome" || entry.jobId !== "job-1",
  );
}

const NEVER_RAN = { jobId: "first", body: "first", libraryId: "library" };
const FIRST = imported("first", 1);
const SECOND = imported("second", 2);
const both = stored(written("a", "second"), written("b", "second"));

test("good imports pass: the last writer's text stands", () => {
  assert.deepEqual(check(imports([FIRST, SECOND], both)), []);
});

const IMPORT_CASES: readonly { name: string; entries: readonly Entry[]; expected: readonly string[] }[] = [
  {
    name: "an old import's text stands where a newer one has written",
    entries: imports([FIRST, SECOND], stored(written("a", "first"), written("b", "second"))),
    expected: ["fence"],
  },
  {
    name: "a document of a completed import is missing",
    entries: imports([FIRST], stored(written("a", "first"))),
    expected: ["import"],
  },
  {
    name: "a completed import counts too few",
    entries: imports(
      [imported("first", 1, { result: { imported: 1, failed: 0, chunks: 2 } })],
      stored(written("a", "first"), written("b", "first")),
    ),
    expected: ["import"],
  },
  {
    name: "a cancelled import counts what is not there",
    entries: imports(
      [imported("first", 1, { status: "CANCELLED", result: { imported: 2, failed: 0, chunks: 4 } })],
      stored(written("a", "first")),
    ),
    expected: ["import"],
  },
  {
    name: "an import counts other chunks than its documents have",
    entries: imports(
      [imported("first", 1, { result: { imported: 2, failed: 0, chunks: 5 } })],
      stored(written("a", "first"), written("b", "first")),
    ),
    expected: ["import"],
  },
  {
    name: "a document has chunks of two imports",
    entries: imports(
      [FIRST, SECOND],
      stored({ documentId: "a", bodies: ["first", "second"], chunks: 2 }, written("b", "second")),
    ),
    expected: ["import"],
  },
  {
    name: "a document has chunks twice",
    entries: imports([FIRST], stored(written("a", "first", 4), written("b", "first"))),
    expected: ["import"],
  },
  {
    name: "nobody wrote a document",
    entries: imports([FIRST], stored(written("a", "first"), written("b", "first"), written("c", "ghost"))),
    expected: ["import"],
  },
  {
    name: "the library's totals are wrong",
    entries: imports([FIRST, SECOND], { ...both, chunkCount: 5 } as Entry),
    expected: ["import"],
  },
  {
    name: "an import writes that never had a lease",
    entries: [
      ...history(
        [
          record("job.submitted", job("PENDING", 1, NEVER_RAN)),
          record("job.cancelled", job("CANCELLED", 2, NEVER_RAN)),
        ],
        FIRST.entries[0] as Entry,
        stored(written("a", "first")),
      ),
    ],
    expected: ["fence"],
  },
];

for (const { name, entries, expected } of IMPORT_CASES) {
  test(`caught: ${name}`, () => assert.deepEqual(reported(entries), expected));
}

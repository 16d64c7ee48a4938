import type { ImportEntry, JobView, LibraryEntry, StoredDocument, Violation } from "../history.ts";
import type { JournalView, Placed } from "../journal-view.ts";

/**
 * The effects of imports. Every document's text names the body that wrote it, so the last writer of each is known. The
 * index's fence promises that an import whose leases are over, with their fences closed, writes nothing any more: its
 * text must not stand where an import that began later has written.
 */
export function* checkImports(view: JournalView): Generator<Violation> {
  const writers = new Map<string, Writer>();
  for (const body of view.all("importBody")) {
    const records = [...view.jobs.values()].find(([first]) => first?.job?.body === body.body);
    if (records) writers.set(body.body, writerOf(body, records));
  }
  for (const writer of writers.values()) yield* checkCounts(writer);
  for (const library of view.all("library")) {
    yield* checkTotals(library);
    yield* checkDocuments(library, writers);
  }
}

interface Writer {
  readonly body: ImportEntry;
  readonly job: JobView;
  readonly last: Placed;
  /** Sequence of its first lease; Infinity = it never ran. */
  readonly beganAt: number;
  /** From this sequence on no lease of it may write; Infinity = not known. */
  readonly overAt: number;
}

function writerOf(body: ImportEntry, records: readonly Placed[]): Writer {
  const last = records.at(-1) as Placed;
  const job = records.flatMap((record) => (record.job ? [record.job] : [])).at(-1) as JobView;
  const began = records.find(({ event }) => event === "job.started");
  // A lost lease may write until its fence is closed, which the journal notes.
  const over = records.findLast((record, n) => {
    const before = records[n - 1];
    return record.lease !== before?.lease || record.fencePending !== before.fencePending;
  });
  const isOver = last.lease === 0 && last.fencePending === 0;
  return {
    body,
    job,
    last,
    beganAt: began?.sequence ?? Number.POSITIVE_INFINITY,
    overAt: isOver ? (over?.sequence ?? 0) : Number.POSITIVE_INFINITY,
  };
}

function* checkCounts({ body, job, last }: Writer): Generator<Violation> {
  const { result, status } = job;
  const count = body.documentIds.length;
  if (status === "COMPLETED" && (result?.imported !== count || result.failed !== 0)) {
    const message = `import ${job.jobId} of ${count} documents completed with ${result?.imported} imported and ${result?.failed} failed`;
    yield { check: "import", message, evidence: [last] };
  }
  if (!result) return;
  if (result.imported > count || result.chunks !== result.imported * body.chunksPerDocument) {
    const message = `import ${job.jobId} counts ${result.imported} of ${count} documents and ${result.chunks} chunks, ${body.chunksPerDocument} each`;
    yield { check: "import", message, evidence: [last] };
  }
}

function* checkTotals(library: LibraryEntry): Generator<Violation> {
  const chunks = library.documents.reduce((sum, each) => sum + each.chunks, 0);
  const ids = new Set(library.documents.map(({ documentId }) => documentId));
  if (
    library.documentCount === library.documents.length &&
    library.chunkCount === chunks &&
    ids.size === library.documents.length
  )
    return;
  const message = `library ${library.libraryId} says that it has ${library.documentCount} documents and ${library.chunkCount} chunks; it lists ${library.documents.length}, ${ids.size} of them different, with ${chunks}`;
  yield { check: "import", message, evidence: [{ ...library, documents: library.documents.slice(0, 5) }] };
}

function* checkDocuments(library: LibraryEntry, all: ReadonlyMap<string, Writer>): Generator<Violation> {
  const writers = [...all.values()].filter(({ body }) => body.libraryId === library.libraryId);
  const stored = new Map(library.documents.map((document) => [document.documentId, document]));
  for (const document of library.documents) yield* checkDocument(document, writers);
  for (const { body, job, last } of writers) {
    // Documents are written in their order, so the first so many are there: by this import or by another.
    const written = job.status === "COMPLETED" ? body.documentIds.length : (job.result?.imported ?? 0);
    const missing = body.documentIds.slice(0, written).filter((documentId) => !stored.has(documentId));
    if (missing.length === 0) continue;
    const message = `import ${job.jobId} is ${job.status} with ${written} documents imported, and ${missing.length} of them are not there`;
    yield { check: "import", message, evidence: [missing.slice(0, 10), last] };
  }
}

function* checkDocument(document: StoredDocument, writers: readonly Writer[]): Generator<Violation> {
  const [tag] = document.bodies;
  const writer = writers.find(({ body }) => body.body === tag);
  const mine = writer?.body.documentIds.includes(document.documentId) ?? false;
  if (document.bodies.length !== 1 || !writer || !mine || document.chunks !== writer.body.chunksPerDocument) {
    const message = `document ${document.documentId} holds ${document.chunks} chunks of ${document.bodies.join(" and ")}`;
    yield { check: "import", message, evidence: [document, writer?.body] };
    return;
  }
  if (writer.beganAt === Number.POSITIVE_INFINITY) {
    const message = `document ${document.documentId} was written by import ${writer.job.jobId}, which never had a lease`;
    yield { check: "fence", message, evidence: [document, writer.last] };
  }
  for (const other of writers) {
    const replaced =
      other.job.status === "COMPLETED" &&
      other.beganAt > writer.overAt &&
      other.body.documentIds.includes(document.documentId);
    if (!replaced) continue;
    const message = `document ${document.documentId} has the text of import ${writer.job.jobId}, which was over at sequence ${writer.overAt}; import ${other.job.jobId} began at ${other.beganAt} and replaced it: an old lease has written after a newer one`;
    yield { check: "fence", message, evidence: [document, writer.last, other.last] };
  }
}

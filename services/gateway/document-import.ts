import { invalidArgument } from "../../platform/errors.ts";
import { documentDigest } from "./document-digest.ts";
import type { GatewayContext } from "./guard.ts";
import {
  documentTooLarge,
  MAX_DOCUMENT_BYTES,
  type ReceivedImport,
  type ReceivedSubmit,
} from "./received.ts";
import type { RequestDigest, Spool } from "./spool.ts";
import { onlyJob, type Submissions } from "./submissions.ts";

/** Time to submit the job once its documents are stored, however long that took. */
const SUBMIT_TIMEOUT_MS = 30_000;

/** ImportDocuments: a header, then documents, each stored as it comes. */
export class DocumentImport {
  readonly #submissions: Submissions;
  readonly #spool: Spool;

  constructor(submissions: Submissions, spool: Spool) {
    this.#submissions = submissions;
    this.#spool = spool;
  }

  /** Encoded ImportDocumentsResponse. @throws ArrwError */
  async run(messages: AsyncIterable<ReceivedImport>, context: GatewayContext): Promise<Buffer> {
    const { signal, principal } = context;
    const iterator = messages[Symbol.asyncIterator]();
    try {
      const header = await readHeader(iterator);
      const libraries = await this.#submissions.libraries([header.request], context);
      const prepared = this.#submissions.prepareStream(header, libraries.get(header.request.libraryId));
      const documents = documentsOf(iterator, prepared.digest);
      const payload = await this.#spool.put(prepared.jobId, documents, signal);
      const submission = prepared.spooled(payload);
      if (payload.items === 0) {
        this.#submissions.discard([submission]);
        throw invalidArgument([{ field: "document", description: "at least one; got 0" }]);
      }
      const deadlineMs = Math.max(context.deadlineMs, Date.now() + SUBMIT_TIMEOUT_MS);
      return onlyJob(await this.#submissions.submit([submission], { deadlineMs, signal, principal }));
    } finally {
      await iterator.return?.().catch(() => undefined);
    }
  }
}

async function readHeader(iterator: AsyncIterator<ReceivedImport>): Promise<ReceivedSubmit> {
  const first = await iterator.next();
  if (!first.done && first.value.header) return first.value.header;
  const got = first.done ? "no message" : first.value.document ? "a document" : "an empty message";
  throw invalidArgument([{ field: "header", description: `the first message; got ${got}` }]);
}

async function* documentsOf(
  iterator: AsyncIterator<ReceivedImport>,
  digest: RequestDigest | undefined,
): AsyncGenerator<Uint8Array> {
  for (let count = 0; ; count++) {
    const next = await iterator.next();
    if (next.done) return;
    const { header, document: received } = next.value;
    if (!received) {
      const got = header ? "a second header" : "an empty message";
      throw invalidArgument([
        { field: "document", description: `only documents after the header; got ${got}` },
      ]);
    }
    if (received.length > MAX_DOCUMENT_BYTES) throw documentTooLarge(`document ${count}`, received.length);
    digest?.add(documentDigest(received));
    yield received;
  }
}

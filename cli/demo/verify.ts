import { setTimeout as delay } from "node:timers/promises";
import type { ArrwClient, DocumentInput, Job, Library } from "../../client/index.ts";
import { JobStatus } from "../../client/index.ts";
import { count, plural } from "../format.ts";
import { documentId } from "../import/text-file.ts";
import { endText } from "../job-text.ts";
import type { Checks } from "./checks.ts";
import type { Text } from "./texts.ts";

export interface SentDocument extends DocumentInput {
  readonly documentId: string;
  readonly title: string;
  readonly texts: [string];
}

export function toDocuments(libraryId: string, texts: readonly Text[]): SentDocument[] {
  return texts.map(({ path, text }) => ({
    documentId: documentId(libraryId, path),
    title: path,
    texts: [text],
  }));
}

const PAGE_SIZE = 50;

/**
 * Compares what the library holds with what was sent. The import's chunks must not overlap: joined they are the text
 * then, so that a chunk that is missing, doubled or changed shows.
 */
export async function verifyImport(
  client: ArrwClient,
  checks: Checks,
  job: Job,
  sent: readonly SentDocument[],
): Promise<void> {
  const result = job.result?.result?.$case === "batchImport" ? job.result.result.value : undefined;
  const completed = job.status === JobStatus.JOB_STATUS_COMPLETED && result !== undefined;
  checks.ok("the job completed", completed, endText(job));
  if (!result) return;
  const texts = new Map(sent.map((document) => [document.documentId, document.texts[0]]));
  const seen = new Map<string, number>();
  let chunks = 0;
  const wrong: string[] = [];
  for await (const document of client.documents(job.libraryId, { pageSize: PAGE_SIZE, includeTexts: true })) {
    seen.set(document.documentId, (seen.get(document.documentId) ?? 0) + 1);
    chunks += document.texts.length;
    if (document.texts.join("") !== texts.get(document.documentId)) wrong.push(document.title);
  }
  const missing = sent.filter((document) => !seen.has(document.documentId)).length;
  const doubled = [...seen.values()].filter((times) => times > 1).length;
  const strange = [...seen.keys()].filter((id) => !texts.has(id)).length;
  checks.ok(
    `${plural(sent.length, "document")}, each exactly once`,
    missing + doubled + strange === 0 && Number(result.imported) === sent.length && result.failed === 0n,
    `${missing} missing, ${doubled} doubled, ${strange} not sent; the job says ${result.imported} imported, ${result.failed} refused`,
  );
  const library = await indexedLibrary(client, job.libraryId, Number(result.totalChunks));
  const counts = [chunks, library.chunkCount, library.vectorCount].map(Number);
  checks.ok(
    `${plural(result.totalChunks, "chunk")} in the job's result, in the documents and in the index`,
    counts.every((each) => each === Number(result.totalChunks)),
    `${counts.map(count).join(", ")} listed, counted, indexed`,
  );
  const characters = sent.reduce((sum, { texts: [text] }) => sum + text.length, 0);
  checks.ok(
    `every text as it was sent, ${count(characters)} characters`,
    wrong.length === 0,
    `${wrong.length} differ: ${wrong.slice(0, 3).join(", ")}`,
  );
}

const INDEX_TIMEOUT_MS = 20_000;
const POLL_MS = 50;

/** The index may lag behind what is stored (searches look at the rest one by one); it catches up by itself. */
async function indexedLibrary(client: ArrwClient, libraryId: string, vectors: number): Promise<Library> {
  const untilMs = performance.now() + INDEX_TIMEOUT_MS;
  for (;;) {
    const library = await client.getLibrary(libraryId);
    if (Number(library.vectorCount) >= vectors || performance.now() > untilMs) return library;
    await delay(POLL_MS);
  }
}

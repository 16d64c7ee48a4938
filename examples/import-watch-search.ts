/**
 * Imports a few documents, watches the job, searches. Run it beside `npm start`:
 *
 *     npx tsx examples/import-watch-search.ts
 */
import { ArrwClient, ClientError, type DocumentInput, JobStatus } from "../client/index.ts";

const client = new ArrwClient({ address: process.env.ARRW_ADDRESS ?? "127.0.0.1:50051" });

/** Any iterable will do; an async one may read files or a database while the import runs. */
async function* poems(): AsyncGenerator<DocumentInput> {
  yield {
    documentId: "sonnet-18",
    title: "Sonnet 18",
    author: "William Shakespeare",
    texts: ["Shall I compare thee to a summer's day? Thou art more lovely and more temperate."],
    tags: ["sonnet"],
  };
  yield {
    documentId: "the-tyger",
    title: "The Tyger",
    author: "William Blake",
    texts: ["Tyger Tyger, burning bright, in the forests of the night."],
    metadata: { year: 1794 },
  };
}

try {
  const library = await client.createLibrary({ name: `poems-${Date.now()}` });

  const submitted = await client.importDocuments(library.libraryId, poems());
  for await (const job of client.watch(submitted.jobId)) {
    console.log(
      `revision ${job.revision}: ${job.progress?.current ?? 0n} of ${job.progress?.total ?? 0n} documents`,
    );
    if (job.status === JobStatus.JOB_STATUS_FAILED) throw new Error(job.error?.message);
  }

  const { hits } = await client.search(library.libraryId, "a tyger in the night", {
    k: 1,
    includeText: true,
    filter: { all: [{ field: "metadata.year", test: { $case: "range", value: { lt: 1800 } } }] },
  });
  for (const hit of hits) console.log(`${hit.score.toFixed(3)}  ${hit.title}: ${hit.text}`);

  await client.deleteLibrary(library.libraryId);
} catch (error) {
  if (!(error instanceof ClientError)) throw error;
  console.error(`${error.reason}: ${error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}

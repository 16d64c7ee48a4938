import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import fc from "fast-check";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import {
  CancelJobRequest,
  CancelJobsRequest,
  DeleteJobsRequest,
  GetJobLogsRequest,
  GetJobRequest,
  ImportDocumentsRequest,
  JobServiceService,
  ListJobItemsRequest,
  ListJobsRequest,
  RetryJobRequest,
  RetryJobsRequest,
  SubmitJobRequest,
  SubmitJobsRequest,
  WatchJobRequest,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import {
  CreateLibraryRequest,
  DeleteDocumentRequest,
  DeleteLibraryRequest,
  GetDocumentRequest,
  LibraryServiceService,
  ListDocumentsRequest,
  ListLibrariesRequest,
  SearchRequest,
  WatchLibraryRequest,
} from "../../../proto/gen/arrwdb/v1/libraries.ts";
import {
  DrainWorkerRequest,
  PauseQueueRequest,
  QueueServiceService,
  SetQueueLimitRequest,
} from "../../../proto/gen/arrwdb/v1/queues.ts";
import {
  anyCreateLibrary,
  anyDocument,
  anyInt32,
  anyJobsChange,
  anyListDocuments,
  anyListJobs,
  anySearch,
  anySubmit,
  anyText,
  mutated,
} from "../../support/arbitrary-requests.ts";
import { startTestGateway } from "../../support/gateway.ts";

const RUNS = 1_000;
const AT_A_TIME = 20;
/** INTERNAL (13), UNKNOWN (2) and DATA_LOSS (15) would be ours to answer for. */
const OURS: readonly number[] = [2, 13, 15];
const asIs = (bytes: Buffer): Buffer => bytes;

type Encode<T> = { encode(message: T): { finish(): Uint8Array } };

function requests<T>(type: Encode<T>, message: fc.Arbitrary<T>): fc.Arbitrary<Buffer> {
  const bytes = message.map((value) => type.encode(value).finish());
  return fc.oneof(
    bytes.map((each) => Buffer.from(each)),
    mutated(bytes),
  );
}

const id = fc.record({ jobId: anyText });
const library = fc.record({ libraryId: anyText });
const inLibrary = { libraryId: anyText, documentId: anyText };
const page = fc.record({ pageSize: anyInt32, pageToken: anyText });

const UNARY: Record<string, fc.Arbitrary<Buffer>> = {
  [JobServiceService.submitJob.path]: requests(SubmitJobRequest, anySubmit),
  [JobServiceService.submitJobs.path]: requests(
    SubmitJobsRequest,
    fc.record({ requests: fc.array(anySubmit, { maxLength: 3 }) }),
  ),
  [JobServiceService.getJob.path]: requests(GetJobRequest, id),
  [JobServiceService.listJobs.path]: requests(ListJobsRequest, anyListJobs as fc.Arbitrary<ListJobsRequest>),
  [JobServiceService.cancelJob.path]: requests(
    CancelJobRequest,
    fc.record({ jobId: anyText, reason: anyText }),
  ),
  [JobServiceService.retryJob.path]: requests(
    RetryJobRequest,
    fc.record({
      jobId: anyText,
      fromCheckpoint: fc.boolean(),
      failedItemsOnly: fc.boolean(),
      endedRevision: fc.bigInt(-5n, 5n),
    }),
  ),
  [JobServiceService.listJobItems.path]: requests(
    ListJobItemsRequest,
    fc.record({ jobId: anyText, outcome: anyText, pageSize: anyInt32, pageToken: anyText }),
  ),
  [JobServiceService.deleteJob.path]: requests(GetJobRequest, id),
  [JobServiceService.cancelJobs.path]: requests(CancelJobsRequest, anyJobsChange),
  [JobServiceService.retryJobs.path]: requests(RetryJobsRequest, anyJobsChange),
  [JobServiceService.deleteJobs.path]: requests(DeleteJobsRequest, anyJobsChange),
  [QueueServiceService.pauseQueue.path]: requests(PauseQueueRequest, fc.record({ type: anyText })),
  [QueueServiceService.resumeQueue.path]: requests(PauseQueueRequest, fc.record({ type: anyText })),
  [QueueServiceService.setQueueLimit.path]: requests(
    SetQueueLimitRequest,
    fc.record({ type: anyText, maxRunning: anyInt32 }),
  ),
  [QueueServiceService.drainWorker.path]: requests(DrainWorkerRequest, fc.record({ workerId: anyText })),
  [LibraryServiceService.createLibrary.path]: requests(
    CreateLibraryRequest,
    anyCreateLibrary as fc.Arbitrary<CreateLibraryRequest>,
  ),
  [LibraryServiceService.getLibrary.path]: requests(DeleteLibraryRequest, library),
  [LibraryServiceService.listLibraries.path]: requests(ListLibrariesRequest, page),
  [LibraryServiceService.deleteLibrary.path]: requests(DeleteLibraryRequest, library),
  [LibraryServiceService.getDocument.path]: requests(
    GetDocumentRequest,
    fc.record({ ...inLibrary, includeVectors: fc.boolean() }),
  ),
  [LibraryServiceService.listDocuments.path]: requests(
    ListDocumentsRequest,
    anyListDocuments as fc.Arbitrary<ListDocumentsRequest>,
  ),
  [LibraryServiceService.deleteDocument.path]: requests(DeleteDocumentRequest, fc.record(inLibrary)),
  [LibraryServiceService.search.path]: requests(SearchRequest, anySearch as fc.Arbitrary<SearchRequest>),
};

async function inParallel(cases: readonly Buffer[], run: (bytes: Buffer) => Promise<void>): Promise<void> {
  const left = [...cases];
  const work = async (): Promise<void> => {
    for (let next = left.pop(); next; next = left.pop()) await run(next);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
}

function assertTheirs(path: string, bytes: Buffer, error: ServiceError | null): void {
  if (!error || !OURS.includes(error.code)) return;
  assert.fail(`${path}: ${error.code} ${error.details} for ${bytes.toString("hex").slice(0, 2_000)}`);
}

test("1,000 mutations of each unary request: every answer names the client's mistake", async (t) => {
  const { address, index, jobs } = await startTestGateway(t);
  const client = new Client(address, credentials.createInsecure());
  for (const [path, request] of Object.entries(UNARY)) {
    index.add("lib-1", "docs", "hashing", 3);
    await inParallel(fc.sample(request, RUNS), (bytes) => {
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, asIs, asIs, bytes, { deadline: Date.now() + 20_000 }, (error) => {
          try {
            assertTheirs(path, bytes, error);
            resolve();
          } catch (thrown) {
            reject(thrown);
          }
        });
      });
    });
  }
  client.close();
  await new Promise<void>((resolve, reject) => {
    jobs.listJobs({ filter: undefined, pageSize: 1, pageToken: "" }, (error) =>
      error ? reject(error) : resolve(),
    );
  });
});

test("1,000 mutations of watches, logs and imports", async (t) => {
  const { address, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 3);
  const client = new Client(address, credentials.createInsecure());
  const watches = requests(WatchJobRequest, fc.record({ jobId: anyText, afterRevision: fc.bigInt(-5n, 5n) }));
  const logs = requests(
    GetJobLogsRequest,
    fc.record({ jobId: anyText, follow: fc.boolean(), afterCursor: fc.oneof(anyText, fc.constant("1-1-1")) }),
  );
  const changes = requests(WatchLibraryRequest, fc.record({ libraryId: anyText, afterCursor: anyText }));
  const streams = [
    [JobServiceService.watchJob.path, watches],
    [JobServiceService.getJobLogs.path, logs],
    [LibraryServiceService.watchLibrary.path, changes],
  ] as const;
  for (const [path, messages] of streams) {
    await inParallel(fc.sample(messages, RUNS), (bytes) => {
      return new Promise((resolve, reject) => {
        const stream = client.makeServerStreamRequest(path, asIs, asIs, bytes, {
          deadline: Date.now() + 20_000,
        });
        stream.on("error", (error: ServiceError) => {
          try {
            assertTheirs(path, bytes, error);
          } catch (thrown) {
            reject(thrown);
          }
        });
        stream.on("data", () => undefined);
        stream.on("status", () => resolve());
      });
    });
  }
  const header = anySubmit.map((value) => ({ message: { $case: "header" as const, value } }));
  const document = anyDocument.map((value) => ({
    message: { $case: "document" as const, value: Document.fromPartial(value as Document) },
  }));
  const messages = fc.array(requests(ImportDocumentsRequest, fc.oneof(header, document)), { maxLength: 4 });
  const good = ImportDocumentsRequest.encode({
    message: { $case: "header", value: SubmitJobRequest.fromPartial({ libraryId: "docs" }) },
  }).finish();
  const { path: importPath } = JobServiceService.importDocuments;
  for (let round = 0; round < RUNS / AT_A_TIME; round++) {
    const streams = fc.sample(fc.tuple(fc.boolean(), messages), AT_A_TIME).map(([withHeader, rest]) => {
      return new Promise<void>((resolve, reject) => {
        const all = withHeader ? [Buffer.from(good), ...rest] : rest;
        const options = { deadline: Date.now() + 20_000 };
        const stream = client.makeClientStreamRequest(importPath, asIs, asIs, options, (error) => {
          try {
            assertTheirs(importPath, Buffer.concat(all), error);
            resolve();
          } catch (thrown) {
            reject(thrown);
          }
        });
        stream.on("error", () => undefined);
        for (const message of all) stream.write(message);
        stream.end();
      });
    });
    await Promise.all(streams);
  }
  client.close();
});

import type { DocumentInput } from "../../../client/import-stream.ts";
import { type DeepPartial, SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { EchoBody, ImportBody } from "../plan.ts";
import { BODY_LABEL } from "../views.ts";

/** From the plan's bodies to requests: the same body is the same request, whenever it is sent. */

const BACKOFF_INITIAL_MS = 200;
const BACKOFF_MAX_MS = 1_500;

/** @param runStartMs Unix ms of the run's start */
export function echoRequest(body: EchoBody, requestId: string, runStartMs: number): SubmitJobRequest {
  const request: DeepPartial<SubmitJobRequest> = {
    requestId,
    labels: { [BODY_LABEL]: body.name },
    maxRetries: body.maxRetries,
    concurrencyKey: body.concurrencyKey,
    concurrencyLimit: body.concurrencyLimit,
    retryPolicy: { backoffInitial: duration(BACKOFF_INITIAL_MS), backoffMax: duration(BACKOFF_MAX_MS) },
    spec: {
      spec: {
        $case: "echo",
        value: {
          message: body.name,
          steps: body.steps,
          failTimes: body.failTimes,
          failPermanently: body.failPermanently,
          snoozeTimes: body.snoozeTimes,
          ...(body.sleepMs > 0 ? { sleep: duration(body.sleepMs) } : {}),
          ...(body.snoozeTimes > 0 ? { snooze: duration(body.snoozeMs) } : {}),
        },
      },
    },
    ...(body.runAtMs > 0 ? { runAt: new Date(Math.round(runStartMs + body.runAtMs)) } : {}),
    ...(body.executionTimeoutMs > 0 ? { executionTimeout: duration(body.executionTimeoutMs) } : {}),
    ...(body.totalTimeoutMs > 0 ? { totalTimeout: duration(body.totalTimeoutMs) } : {}),
  };
  return SubmitJobRequest.fromPartial(request);
}

export function importRequest(body: ImportBody, requestId: string, libraryId: string): SubmitJobRequest {
  return SubmitJobRequest.fromPartial({
    requestId,
    libraryId,
    labels: { [BODY_LABEL]: body.name },
    spec: { spec: { $case: "batchImport", value: { documents: documentsOf(body) } } },
  });
}

/** Every chunk begins with the body's name: it says later who wrote it. */
export function documentsOf({ name, documentIds, chunksPerDocument }: ImportBody): DocumentInput[] {
  return documentIds.map((documentId) => ({
    documentId,
    title: name,
    texts: Array.from({ length: chunksPerDocument }, (_, n) => `${name} wrote part ${n} of ${documentId}`),
  }));
}

/** Who wrote a chunk. */
export function writerOfChunk(text: string): string {
  return text.split(" ", 1)[0] ?? "";
}

function duration(ms: number): { seconds: bigint; nanos: number } {
  return { seconds: BigInt(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1_000_000 };
}

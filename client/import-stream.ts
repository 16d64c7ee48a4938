import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { type ClientWritableStream, Metadata } from "@grpc/grpc-js";
import type { DeepPartial, Document } from "../proto/gen/arrwdb/v1/document.ts";
import {
  ImportDocumentsRequest,
  type ImportDocumentsResponse,
  type Job,
  type JobServiceClient,
  JobServiceService,
  type SubmitJobRequest,
} from "../proto/gen/arrwdb/v1/jobs.ts";
import type { Deadline } from "./calls.ts";
import { ClientError, cancelled, fromServiceError } from "./error.ts";

/** A Document whose unset fields may be left out. */
export type DocumentInput = DeepPartial<Document>;
export type DocumentSource = AsyncIterable<DocumentInput> | Iterable<DocumentInput>;

/**
 * Sends the header, then the documents as fast as the server takes them: one is held at a time beside what the
 * transport buffers. When the server ends the call the source is left; when the source throws, the call is cancelled.
 * @throws ClientError, or what the source threw
 */
export async function importStream(
  stub: JobServiceClient,
  header: SubmitJobRequest,
  documents: DocumentSource,
  call: Deadline & { readonly onSent: ((documents: number) => void) | undefined },
): Promise<Job> {
  const { deadlineMs, signal } = call;
  if (signal?.aborted) throw cancelled(signal);
  let stream: ClientWritableStream<ImportDocumentsRequest> | undefined;
  const answered = new Promise<Job>((resolve, reject) => {
    const onAnswer = (
      error: Parameters<typeof fromServiceError>[0] | null,
      answer?: ImportDocumentsResponse,
    ) => {
      if (error) reject(signal?.aborted ? cancelled(signal) : fromServiceError(error));
      else if (answer?.job) resolve(answer.job);
      else reject(new ClientError("INTERNAL", "the server answered without a job"));
    };
    const { path, responseDeserialize } = JobServiceService.importDocuments;
    const options = { deadline: deadlineMs };
    const { encode } = new Encoder();
    stream = stub.makeClientStreamRequest(
      path,
      encode,
      responseDeserialize,
      new Metadata(),
      options,
      onAnswer,
    );
  });
  const unlessAnswered = interruptedBy(answered);
  let sent = 0;
  const onSent = (): void => {
    sent += 1;
    call.onSent?.(sent);
  };
  const sink = stream as ClientWritableStream<ImportDocumentsRequest>;
  // The callback reports it.
  sink.on("error", () => undefined);
  const onAbort = (): void => sink.cancel();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    await send(sink, { message: { $case: "header", value: header } }, unlessAnswered);
    await sendAll(sink, documents, unlessAnswered, onSent);
    sink.end();
    return await answered;
  } catch (error) {
    sink.cancel();
    throw described(error, sent);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Encodes all messages of a stream with one writer: a new one for each grows its buffer from nothing every time. */
class Encoder {
  #writer = new BinaryWriter();

  readonly encode = (message: ImportDocumentsRequest): Buffer => {
    const writer = this.#writer;
    // An encoder that throws would leave its bytes behind for the next message.
    this.#writer = new BinaryWriter();
    const { buffer, byteOffset, byteLength } = ImportDocumentsRequest.encode(message, writer).finish();
    this.#writer = writer;
    return Buffer.from(buffer, byteOffset, byteLength);
  };
}

type Interruptible = <T>(work: T | PromiseLike<T>) => Promise<T>;

/**
 * What waits through it is let go when the call ends before its time. Unlike Promise.race it leaves nothing behind on
 * the call's promise, however many documents there are.
 */
function interruptedBy(answered: Promise<Job>): Interruptible {
  let end: { readonly error: unknown } | undefined;
  let interrupt: ((error: unknown) => void) | undefined;
  const onEnd = (error: unknown): void => {
    end = { error };
    interrupt?.(error);
  };
  answered.then(
    () => onEnd(new ClientError("INTERNAL", "the server answered before it had all documents")),
    onEnd,
  );
  return (work) =>
    new Promise((resolve, reject) => {
      if (end) return reject(end.error);
      interrupt = reject;
      Promise.resolve(work).then(resolve, reject);
    });
}

async function sendAll(
  sink: ClientWritableStream<ImportDocumentsRequest>,
  documents: DocumentSource,
  unlessAnswered: Interruptible,
  onSent: () => void,
): Promise<void> {
  const iterator =
    Symbol.asyncIterator in documents ? documents[Symbol.asyncIterator]() : documents[Symbol.iterator]();
  let ended = false;
  try {
    for (;;) {
      // The source may be slow, and the server's error mustn't wait for it.
      const next = await unlessAnswered(iterator.next());
      if (next.done) {
        ended = true;
        return;
      }
      await send(sink, { message: { $case: "document", value: next.value } }, unlessAnswered);
      onSent();
    }
  } finally {
    // Not awaited: a source that waits for its own next value would hold the error back.
    if (!ended) void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

async function send(
  sink: ClientWritableStream<ImportDocumentsRequest>,
  message: DeepPartial<ImportDocumentsRequest>,
  unlessAnswered: Interruptible,
): Promise<void> {
  if (sink.write(ImportDocumentsRequest.fromPartial(message))) return;
  let onDrain = (): void => undefined;
  const drained = new Promise<void>((resolve) => {
    onDrain = resolve;
    sink.once("drain", onDrain);
  });
  try {
    await unlessAnswered(drained);
  } finally {
    sink.off("drain", onDrain);
  }
}

/** A message above the server's bound is refused before it is read: the server can't say which document it was. */
function described(error: unknown, sent: number): unknown {
  if (!(error instanceof ClientError) || error.code !== "RESOURCE_EXHAUSTED") return error;
  if (error.reason !== "MESSAGE_TOO_LARGE" && error.reason !== error.code) return error;
  const which = sent > 1 ? `document ${sent} or one shortly before it` : "the first document";
  const message = `${which} is above 4,000,000 bytes: split its texts`;
  return new ClientError(error.code, message, { reason: "DOCUMENT_TOO_LARGE", cause: error });
}

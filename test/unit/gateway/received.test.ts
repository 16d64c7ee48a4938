import assert from "node:assert/strict";
import { test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { type DeepPartial, ImportDocumentsRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { checkSubmit } from "../../../services/gateway/domain/validation/submit.ts";
import { ReceivingJobService } from "../../../services/gateway/received.ts";

const read = (bytes: Uint8Array) =>
  ReceivingJobService.importDocuments.requestDeserialize(Buffer.from(bytes));
const encoded = (message: DeepPartial<ImportDocumentsRequest>): Uint8Array =>
  ImportDocumentsRequest.encode(ImportDocumentsRequest.fromPartial(message)).finish();

const header = encoded({ message: { $case: "header", value: { libraryId: "l" } } });
const document = encoded({ message: { $case: "document", value: { documentId: "d", texts: ["t"] } } });

test("a stream's header is decoded, its documents stay as they came", () => {
  assert.equal(read(header).header?.request.libraryId, "l");
  const bytes = read(document).document;
  assert.deepEqual(bytes && Document.decode(bytes).texts, ["t"]);
  assert.deepEqual(read(new Uint8Array()), {});
});

test("of a header and a document in one message the last one counts", () => {
  assert.ok(read(Buffer.concat([document, header])).header);
  assert.ok(read(Buffer.concat([header, document])).document);
});

test("a document that is none is handed on; a message that is none is refused", () => {
  assert.deepEqual([...(read(Buffer.from([0x12, 2, 0xff, 0xff])).document ?? [])], [0xff, 0xff]);
  assert.throws(() => read(Buffer.from([0x12, 0x7f, 1])));
});

test("of more requests or documents than are taken only the number is read", () => {
  const empty = Buffer.alloc(1024 * 1024);
  for (let at = 0; at < empty.length; at += 2) empty[at] = 0x0a;
  const field = (number: number, bytes: Uint8Array): Buffer =>
    Buffer.from(
      new BinaryWriter()
        .uint32(number * 8 + 2)
        .bytes(bytes)
        .finish(),
    );
  const { submitJob, submitJobs } = ReceivingJobService;
  const before = process.memoryUsage().heapUsed;
  assert.equal(submitJobs.requestDeserialize(empty).length, empty.length / 2);
  const { request } = submitJob.requestDeserialize(
    Buffer.concat([field(2, Buffer.from("docs")), field(3, field(1, empty))]),
  );
  assert.throws(() => submitJobs.requestDeserialize(field(1, field(3, field(1, empty)))), {
    code: "INVALID_ARGUMENT",
  });
  const vectors = Buffer.from(empty.map((byte) => (byte === 0x0a ? 0x3a : byte)));
  const many = field(3, field(1, field(1, vectors)));
  assert.throws(() => submitJob.requestDeserialize(many), { code: "INVALID_ARGUMENT" });
  assert.throws(() => submitJobs.requestDeserialize(field(1, many)), { code: "INVALID_ARGUMENT" });
  const kind = request.spec?.spec;
  assert.equal(kind?.$case === "batchImport" && kind.value.documents.length, empty.length / 2);
  assert.deepEqual(
    checkSubmit(request, { library: undefined, streamed: false }).map(({ field: path }) => path),
    ["spec.batch_import.documents"],
  );
  assert.ok(process.memoryUsage().heapUsed - before < 100_000_000);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { type DeepPartial, ImportDocumentsRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
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

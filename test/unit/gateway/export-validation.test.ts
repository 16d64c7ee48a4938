import assert from "node:assert/strict";
import { test } from "node:test";
import { SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { checkSubmit } from "../../../services/gateway/domain/validation/submit.ts";

function faults(libraryId: string, format: string): string[] {
  const value = { format, includeEmbeddings: true, gzip: true };
  const request = SubmitJobRequest.fromPartial({
    libraryId,
    spec: { spec: { $case: "batchExport", value } },
  });
  const context = { library: undefined, streamed: false };
  return checkSubmit(request, context).map(({ field, description }) => `${field}: ${description}`);
}

test("an export needs a library, and a format that there is", () => {
  for (const format of ["", "json", "ndjson", "csv"]) assert.deepEqual(faults("a", format), []);
  assert.deepEqual(faults("", "XML"), [
    'library_id: an id or a name is needed; got ""',
    'spec.batch_export.format: one of json, ndjson, csv; got "XML"',
  ]);
});

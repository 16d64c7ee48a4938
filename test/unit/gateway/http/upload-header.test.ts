import assert from "node:assert/strict";
import { test } from "node:test";
import { ArrwError } from "../../../../platform/errors.ts";
import { JsonCodec } from "../../../../services/gateway/http/codec.ts";
import { UploadHeader } from "../../../../services/gateway/http/upload-header.ts";

const header = new UploadHeader(new JsonCodec());

test("parameters of an upload are read as their fields' types, fractions too", () => {
  const { request } = header.read("docs", {
    chunk_size: "200",
    max_retries: "2",
    label: ["a:b", "c:d"],
    execution_timeout: "1.5s",
    backoff_initial: "0.5s",
    backoff_multiplier: "2.5",
    jitter: "0",
  });
  assert.equal(request.libraryId, "docs");
  assert.equal(request.maxRetries, 2);
  assert.deepEqual(request.labels, { a: "b", c: "d" });
  assert.equal(request.retryPolicy?.backoffMultiplier, 2.5);
  assert.equal(request.retryPolicy?.jitter, 0);
});

test("what is no number is refused by the parameter's name", () => {
  for (const text of ["x", "1e3", "Infinity", "0x1", "1."]) {
    assert.throws(
      () => {
        try {
          header.read("docs", { jitter: text });
        } catch (error) {
          throw header.named(error);
        }
      },
      (error) => error instanceof ArrwError && error.violations[0]?.field === "jitter",
    );
  }
});

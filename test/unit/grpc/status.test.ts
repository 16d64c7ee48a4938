import assert from "node:assert/strict";
import { test } from "node:test";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { ArrwError, ErrorCode } from "../../../platform/errors.ts";
import { fromServiceError, hasDetails, toStatus } from "../../../platform/grpc/status.ts";
import { publicError } from "../../../services/gateway/public-error.ts";

function received(error: ArrwError): ArrwError {
  const status = toStatus(error);
  assert.ok(hasDetails(status));
  return fromServiceError({ ...status, name: "Error", message: status.details } as ServiceError);
}

for (const code of Object.keys(ErrorCode) as ErrorCode[]) {
  test(`${code} reaches a client with its reason and all that it says`, () => {
    const error = new ArrwError(code, "why", {
      reason: "BECAUSE",
      metadata: { at: "night" },
      violations: [{ field: "a.b", description: "1..2; got 3" }],
      resource: { type: "job", name: "j" },
      retryAfterMs: 1_250,
    });
    const { message, reason, metadata, violations, resource, retryAfterMs, ...rest } = received(error);
    assert.equal(rest.code, code);
    assert.deepEqual(
      { message, reason, metadata, violations, resource, retryAfterMs },
      {
        message: "why",
        reason: "BECAUSE",
        metadata: { at: "night" },
        violations: error.violations,
        resource: { type: "job", name: "j" },
        retryAfterMs: 1_250,
      },
    );
  });

  test(`${code} without anything more: clients of the gateway know whether to try again, and what was not there`, () => {
    const known = received(publicError(new ArrwError(code, "why")));
    assert.equal(known.reason, code);
    const again: readonly ErrorCode[] = ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"];
    assert.equal(known.retryAfterMs !== undefined, again.includes(code));
    assert.equal(known.resource !== undefined, code === "NOT_FOUND");
  });
}

test("what would be refused again is not to be tried again", () => {
  for (const reason of ["MESSAGE_TOO_LARGE", "DOCUMENT_TOO_LARGE"]) {
    assert.equal(publicError(new ArrwError("RESOURCE_EXHAUSTED", "", { reason })).retryAfterMs, undefined);
  }
});

test("a call that a service broke off was cancelled by nobody", () => {
  const cause = new Error("RST_STREAM");
  for (const code of ["CANCELLED", "INTERNAL"] as const) {
    const error = publicError(new ArrwError(code, "13 INTERNAL: Received RST_STREAM with code 2", { cause }));
    assert.equal(error.code, "UNAVAILABLE");
    assert.notEqual(error.retryAfterMs, undefined);
  }
  assert.equal(publicError(new ArrwError("CANCELLED", "the client cancelled the call")).code, "CANCELLED");
});

test("details that can't be read are none", () => {
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from([0x1a, 0x7f, 1]));
  const error = fromServiceError({ code: 5, details: "gone", metadata, name: "Error", message: "" });
  assert.deepEqual([error.code, error.reason, error.message], ["NOT_FOUND", "NOT_FOUND", "gone"]);
});

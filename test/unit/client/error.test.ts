import assert from "node:assert/strict";
import { test } from "node:test";
import type { ServiceError } from "@grpc/grpc-js";
import { backoffMs } from "../../../client/calls.ts";
import { ClientError, fromServiceError, toClientError } from "../../../client/error.ts";
import { pages } from "../../../client/pages.ts";
import { type ArrwError, invalidArgument, notFound, unavailable } from "../../../platform/errors.ts";
import { toStatus } from "../../../platform/grpc/status.ts";

const received = (error: ArrwError): ClientError =>
  fromServiceError(Object.assign(new Error("14 X: text"), toStatus(error)) as ServiceError);

test("what a service throws arrives with code, reason and violations", () => {
  const missing = received(notFound("library", "docs"));
  assert.equal(missing.code, "NOT_FOUND");
  assert.equal(missing.reason, "LIBRARY_NOT_FOUND");
  assert.equal(missing.message, 'library "docs" does not exist');
  const violations = [
    { field: "k", description: "1..10,000; got 0" },
    { field: "query", description: "needed" },
  ];
  const invalid = received(invalidArgument(violations));
  assert.equal(invalid.code, "INVALID_ARGUMENT");
  assert.deepEqual(invalid.violations, violations);
  assert.equal(received(unavailable("later", { retryAfterMs: 1_500 })).retryAfterMs, 1_500);
});

test("an error without details has its code as reason", () => {
  const bare = Object.assign(new Error("x"), { code: 14, details: "no connection" }) as ServiceError;
  const error = toClientError(bare);
  assert.deepEqual(
    [error.code, error.reason, error.message],
    ["UNAVAILABLE", "UNAVAILABLE", "no connection"],
  );
  assert.equal(toClientError(new Error("y")).code, "UNKNOWN");
  assert.equal(toClientError(error), error);
});

test("the backoff doubles up to two seconds and honours the server's wish", () => {
  const error = new ClientError("UNAVAILABLE", "x");
  for (const [attempt, most] of [
    [1, 50],
    [3, 200],
    [20, 2_000],
  ] as const) {
    const wait = backoffMs(attempt, error);
    assert.ok(wait >= most / 2 && wait <= most, `${wait} of ${most}`);
  }
  assert.equal(backoffMs(1, new ClientError("UNAVAILABLE", "x", { retryAfterMs: 700 })), 700);
});

test("pages are fetched as they are read", async () => {
  const asked: string[] = [];
  const all = pages(async (token) => {
    asked.push(token);
    return token === "" ? { items: [1, 2], nextPageToken: "t" } : { items: [3], nextPageToken: "" };
  });
  assert.equal((await all.next()).value, 1);
  assert.deepEqual(asked, [""]);
  const rest: number[] = [];
  for await (const item of all) rest.push(item);
  assert.deepEqual(
    [rest, asked],
    [
      [2, 3],
      ["", "t"],
    ],
  );
});

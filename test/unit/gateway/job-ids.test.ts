import assert from "node:assert/strict";
import { test } from "node:test";
import { validate, version } from "uuid";
import { newJobId } from "../../../services/gateway/job-ids.ts";

test("ids are UUIDv7, unique and growing, over many pools of randomness", () => {
  const ids = Array.from({ length: 5_000 }, newJobId);
  assert.ok(ids.every((id) => validate(id) && version(id) === 7));
  assert.equal(new Set(ids).size, ids.length);
  assert.deepEqual([...ids].sort(), ids);
});

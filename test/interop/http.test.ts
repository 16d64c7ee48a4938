import assert from "node:assert/strict";
import { test } from "node:test";
import { succeed } from "./command.ts";
import { httpAddress } from "./target.ts";

test("curl reads the probes", async () => {
  assert.match(await succeed("curl", ["-fsS", `${httpAddress()}/readyz`]), /\S/);
});

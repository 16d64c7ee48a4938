import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ArrwClient, QueueCalls } from "../../../client/index.ts";
import { CLI_REFERENCE, cliReference } from "../../support/cli-reference.ts";

test("docs/cli.md is what the commands say; npm run docs writes it", () => {
  assert.equal(readFileSync(CLI_REFERENCE, "utf8"), cliReference());
});

test("docs/client.md names every method of the client", () => {
  const text = readFileSync(new URL("../../../docs/client.md", import.meta.url), "utf8");
  const own = (prototype: object) => Object.getOwnPropertyNames(prototype);
  const methods = [
    ...own(ArrwClient.prototype),
    ...own(Object.getPrototypeOf(ArrwClient.prototype) as object),
    ...own(QueueCalls.prototype),
  ].filter((name) => !["constructor", "deadline", "connect", "close"].includes(name));
  for (const name of methods) assert.ok(text.includes(`\`${name}\``), name);
});

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { finished, spawnNode, userEnv } from "../support/arrw.ts";
import { eventually } from "../support/eventually.ts";

const PROGRAM = fileURLToPath(new URL("../../cli/arrw.js", import.meta.url));

const dataDir = (output: string): string => /data in (\S+)/.exec(output)?.[1] ?? "";

test("the demo passes all its checks within a minute and leaves nothing", async () => {
  const began = performance.now();
  const { code, stdout, stderr } = await finished(spawnNode([PROGRAM, "demo"], userEnv()));
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  assert.ok(performance.now() - began < 60_000);
  assert.match(stdout, /worker killed \(SIGKILL, process \d+\) at \d+ %/);
  assert.match(stdout, /resumed after 1 lost worker/);
  assert.match(stdout, /All 17 checks passed in [\d.]+ s/);
  assert.notEqual(dataDir(stdout), "");
  assert.ok(!existsSync(dataDir(stdout)));
});

test("Ctrl-C ends the demo, and nothing is left", async () => {
  const demo = spawnNode([PROGRAM, "demo"], userEnv());
  let output = "";
  demo.stdout?.on("data", (chunk) => {
    output += chunk;
  });
  const result = finished(demo);
  await eventually(() => output.includes("1  Import"), { timeoutMs: 60_000 });
  assert.ok(existsSync(dataDir(output)));
  demo.kill("SIGINT");
  assert.equal((await result).code, 130);
  assert.ok(!existsSync(dataDir(output)));
});

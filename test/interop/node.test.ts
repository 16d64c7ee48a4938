import assert from "node:assert/strict";
import { test } from "node:test";
import { type Ran, run } from "./command.ts";
import { assertImportedWatchedSearched, assertKeyWanted } from "./poems.ts";
import { grpcAddress, ROOT, securedEnv } from "./target.ts";

function example(...args: readonly string[]): Promise<Ran> {
  return run(process.execPath, args, { cwd: ROOT, env: { ...process.env, ARRW_ADDRESS: grpcAddress() } });
}

test("plain grpc-js imports, watches, searches, and reads an error's details", async () => {
  assertImportedWatchedSearched(await example("examples/node/import-watch-search.js"));
});

test("plain grpc-js with a key and TLS", async () => {
  const args = ["examples/node/import-watch-search.js"];
  assertImportedWatchedSearched(await run(process.execPath, args, { cwd: ROOT, env: securedEnv() }));
  const env = { ...securedEnv(), ARRW_API_KEY: "" };
  assertKeyWanted(await run(process.execPath, args, { cwd: ROOT, env }));
});

test("the package's client imports, watches and searches", async () => {
  const { code, stdout, stderr } = await example("--import", "tsx", "examples/import-watch-search.ts");
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^0\.\d{3} {2}The Tyger: /m);
});

test("the package's client submits many jobs at once", async () => {
  const { code, stdout, stderr } = await example("--import", "tsx", "examples/many-jobs.ts");
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^100 of 100 jobs completed\n100 jobs are labelled .*\n.*cancelled: true$/m);
});

test("without a gateway the example says so and ends", async () => {
  const env = { ...process.env, ARRW_ADDRESS: "127.0.0.1:1" };
  const { code, stderr } = await run(process.execPath, ["examples/node/import-watch-search.js"], {
    cwd: ROOT,
    env,
  });
  assert.equal(code, 1);
  assert.match(stderr, /^UNAVAILABLE: /);
});

test("npx finds the command line of a clone", async () => {
  const { code, stdout, stderr } = await run("npx", ["arrw", "--help"], { cwd: ROOT });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^Usage: arrw /);
});

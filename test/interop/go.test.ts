import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { tempDir } from "../support/temp.ts";
import { run, succeed } from "./command.ts";
import { assertImportedWatchedSearched, assertKeyWanted } from "./poems.ts";
import { goToolsFolder, grpcAddress, ROOT, securedEnv } from "./target.ts";
import { withPath } from "./tools.ts";

test("grpc-go imports, watches, searches, and reads an error's details", async (t) => {
  const folder = await tempDir(t);
  await cp(join(ROOT, "examples/go"), folder, { recursive: true });
  const env = { ...withPath(goToolsFolder()), GOFLAGS: "-mod=readonly -buildvcs=false" };
  const template = ["--template", "examples/go/buf.gen.yaml", "-o", folder, "--path", "proto/arrwdb/v1"];
  await succeed(join(ROOT, "node_modules/.bin/buf"), ["generate", ...template], { cwd: ROOT, env });
  assert.equal(await succeed("gofmt", ["-l", "main.go"], { cwd: folder }), "");
  await succeed("go", ["build", "-o", "example", "."], { cwd: folder, env, timeoutMs: 170_000 });
  const example = join(folder, "example");
  assertImportedWatchedSearched(
    await run(example, [], { env: { ...process.env, ARRW_ADDRESS: grpcAddress() } }),
  );
  // With a key and TLS.
  assertImportedWatchedSearched(await run(example, [], { env: securedEnv() }));
  assertKeyWanted(await run(example, [], { env: { ...securedEnv(), ARRW_API_KEY: "" } }));
});

import { readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { tempDir } from "../support/temp.ts";
import { run, succeed } from "./command.ts";
import { assertImportedWatchedSearched, assertKeyWanted } from "./poems.ts";
import { grpcAddress, pythonFolder, ROOT, securedEnv } from "./target.ts";

test("Python's grpcio imports, watches, searches, and reads an error's details", async (t) => {
  const stubs = await tempDir(t);
  const env = {
    ...process.env,
    PYTHONPATH: [pythonFolder(), stubs].join(delimiter),
    PYTHONDONTWRITEBYTECODE: "1",
    ARRW_ADDRESS: grpcAddress(),
  };
  const protos = readdirSync(join(ROOT, "proto/arrwdb/v1")).map((name) => `arrwdb/v1/${name}`);
  const out = ["python_out", "pyi_out", "grpc_python_out"].map((option) => `--${option}=${stubs}`);
  await succeed("python3", ["-m", "grpc_tools.protoc", "-I", join(ROOT, "proto"), ...out, ...protos], {
    env,
  });
  const args = [join(ROOT, "examples/python/import_watch_search.py")];
  assertImportedWatchedSearched(await run("python3", args, { env }));
  // With a key and TLS.
  assertImportedWatchedSearched(await run("python3", args, { env: securedEnv(env) }));
  assertKeyWanted(await run("python3", args, { env: { ...securedEnv(env), ARRW_API_KEY: "" } }));
});

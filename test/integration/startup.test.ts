import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

interface Ended {
  readonly code: unknown;
  readonly output: string;
}

function start(service: string, env: NodeJS.ProcessEnv): Promise<Ended> {
  const main = fileURLToPath(new URL(`../../services/${service}/main.ts`, import.meta.url));
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...env }, timeout: 20_000 };
    execFile(process.execPath, ["--import", "tsx", main], options, (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, output: stdout + stderr });
    });
  });
}

for (const service of ["index", "scheduler", "worker", "gateway"]) {
  test(`${service} names every wrong setting in a line of its own and ends with exit code 1`, async () => {
    const { code, output } = await start(service, { ARRW_LOG_LEVEL: "loud", ARRW_LEASE_TIMEOUT: "5" });
    assert.equal(code, 1);
    const lines = output.trim().split("\n");
    assert.equal(lines.length, 2, output);
    assert.match(output, /ARRW_LOG_LEVEL: one of trace, debug, .*; got \\"loud\\"/);
    assert.match(output, /ARRW_LEASE_TIMEOUT: no such setting; did you mean ARRW_LEASE_TIMEOUT_MS\?/);
  });
}

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { startSystem } from "../../cli/supervisor.ts";
import { userEnv } from "../support/arrw.ts";
import { planRun } from "./plan.ts";
import { type Secured, startSecured } from "./secured.ts";
import { goTools, missingTools, pythonPackages } from "./tools.ts";

/**
 * Real clients that are not ours, against a whole system on free ports: `npm run test:interop`, or with names of parts only
 * those. Tools are built on the first run and kept.
 */

const TEST_TIMEOUT_MS = 180_000;

async function main(names: readonly string[]): Promise<number> {
  const plan = planRun(await missingTools(), process.env.ARRW_INTEROP_OPTIONAL === "1");
  for (const note of plan.notes) console.log(note);
  if (plan.failure !== undefined) {
    console.error(plan.failure);
    return 1;
  }
  const unknown = names.filter((name) => !plan.parts.includes(name));
  if (unknown.length > 0) {
    console.error(`interop: no part ${unknown.join(", ")}; there are ${plan.parts.join(", ")}`);
    return 1;
  }
  const parts = names.length > 0 ? names : plan.parts;
  const env = userEnv();
  if (parts.some((name) => ["grpcurl", "ghz", "go", "documents"].includes(name))) {
    env.INTEROP_GO_TOOLS = await timed("Go tools", goTools);
  }
  if (parts.includes("python")) env.INTEROP_PYTHON = await timed("Python packages", pythonPackages);

  const system = await startSystem({ temporary: true, env });
  let secured: Secured | undefined;
  try {
    secured = await startSecured(system);
    env.INTEROP_SECURED = JSON.stringify(secured);
    env.INTEROP_GRPC = system.address;
    env.INTEROP_HTTP = system.addresses.find(({ setting }) => setting === "ARRW_GATEWAY_HTTP_PORT")?.address;
    const code = await runTests(parts, env);
    if (code !== 0) console.error(system.logs.slice(-50).join("\n"));
    return code;
  } finally {
    await secured?.stop();
    await system.stop();
  }
}

async function timed(what: string, make: () => Promise<string>): Promise<string> {
  const began = performance.now();
  const folder = await make();
  console.log(`${what}: ${folder}, in ${((performance.now() - began) / 1_000).toFixed(1)} s`);
  return folder;
}

function runTests(parts: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const files = parts.map((name) => fileURLToPath(new URL(`${name}.test.ts`, import.meta.url)));
  const args = ["--import", "tsx", "--test", "--test-concurrency=1", `--test-timeout=${TEST_TIMEOUT_MS}`];
  const child = spawn(process.execPath, [...args, ...files], { env, stdio: "inherit" });
  // The tests end, and then the system is stopped.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 1));
  });
}

process.exitCode = await main(process.argv.slice(2));

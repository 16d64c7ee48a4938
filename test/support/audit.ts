import { spawnSync } from "node:child_process";
import { verdictOf } from "./audit-report.ts";

/** `npm run audit`: fails for known high or critical vulnerabilities of what is shipped; says so when nobody knows. */

const ARGUMENTS = ["audit", "--omit=dev", "--audit-level=high", "--json"];
const { stdout } = spawnSync("npm", ARGUMENTS, {
  encoding: "utf8",
  timeout: 60_000,
  maxBuffer: 64 * 1024 ** 2,
});
const verdict = verdictOf(stdout ?? "");
if (verdict.kind === "clean") {
  console.log(`audit: no known high or critical vulnerabilities (${verdict.minor} lesser ones)`);
} else if (verdict.kind === "unavailable") {
  console.log(
    `audit: NOT AVAILABLE, nothing was checked: the registry does not answer audits (${verdict.why})`,
  );
} else {
  console.error(`audit: VULNERABLE\n${verdict.packages.map((each) => `  ${each}`).join("\n")}`);
  process.exitCode = 1;
}

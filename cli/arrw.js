#!/usr/bin/env node
// Plain JavaScript without newer syntax, so that an old Node can say what is wrong.
import { existsSync } from "node:fs";

const major = Number(process.versions.node.split(".")[0]);
if (major < 20) {
  process.stderr.write(`arrw needs Node.js 20 or newer; this is ${process.version}\n`);
  process.exit(1);
}

// Beside this file when it was compiled with the rest, or in the package.
const programs = ["./main.js", "./main.ts", "../dist/cli/main.js"].map(
  (path) => new URL(path, import.meta.url),
);
const program = programs.find((url) => existsSync(url));
if (program === undefined) {
  process.stderr.write("arrw is not whole: cli/main is missing\n");
  process.exit(1);
} else if (program.pathname.endsWith(".js")) {
  await import(program.href);
} else {
  const { register } = await import("tsx/esm/api");
  register();
  await import(program.href);
}

#!/usr/bin/env node
// Plain JavaScript without newer syntax, so that an old Node can say what is wrong.
import { existsSync } from "node:fs";

const major = Number(process.versions.node.split(".")[0]);
if (major < 20) {
  process.stderr.write(`arrw needs Node.js 20 or newer; this is ${process.version}\n`);
  process.exit(1);
}

const compiled = new URL("./main.js", import.meta.url);
if (existsSync(compiled)) {
  await import(compiled.href);
} else {
  const { register } = await import("tsx/esm/api");
  register();
  await import(new URL("./main.ts", import.meta.url).href);
}

import { readFileSync } from "node:fs";

/** Preloaded into a process: its wall clock is ahead by the ms that the file named by TEST_CLOCK_FILE has. */

const file = process.env.TEST_CLOCK_FILE;
const aheadMs = file ? Number(readFileSync(file, "utf8")) : 0;
const now = Date.now;
Date.now = () => now() + aheadMs;

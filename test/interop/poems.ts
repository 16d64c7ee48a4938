import assert from "node:assert/strict";
import type { Ran } from "./command.ts";

/** What every example prints that imports the poems, whatever its language. */
export function assertImportedWatchedSearched({ code, stdout, stderr }: Ran): void {
  const output = `${stdout}\n${stderr}`;
  assert.equal(code, 0, output);
  assert.match(stdout, /^job [\da-f-]{36} imports into library \S+$/m, output);
  assert.match(stdout, /^ {2}completed, 3 of 3 documents$/m, output);
  assert.match(stdout, /^3 documents imported$/m, output);
  assert.match(stdout, /^0\.\d{3} {2}The Tyger: Tyger Tyger, burning bright/m, output);
  // The details of the error, decoded.
  assert.match(stdout, /^INVALID_?ARGUMENT: k: /im, output);
  assert.match(stdout, /^ {2}reason INVALID_ARGUMENT$/m, output);
  assert.match(stdout, /^ {2}k: 1\.\.10,000; got -1$/m, output);
  assert.match(stdout, /^ {2}query: one of text and vector is needed; got none$/m, output);
}

/** What they print of a gateway that wants a key, and gets none. */
export function assertKeyWanted({ code, stderr }: Ran): void {
  assert.equal(code, 1, stderr);
  assert.match(stderr, /^UNAUTHENTICATED: .*\n {2}reason CREDENTIALS_MISSING$/im);
}

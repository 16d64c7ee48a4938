import { quoted, type Violations } from "./violations.ts";

/** Ids and names that clients choose. A malformed one in a lookup is simply one that does not exist. */

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const JOB_ID = /^[A-Za-z0-9-]{1,64}$/;
const MAX_DOCUMENT_ID_BYTES = 512;

/** May this be the id or name of a library? */
export function isName(value: string): boolean {
  return NAME.test(value);
}

/** May this be the id of a job? */
export function isJobId(value: string): boolean {
  return JOB_ID.test(value);
}

/** May this be the id of a worker? */
export function isWorkerId(value: string): boolean {
  return JOB_ID.test(value);
}

/** May this be the id of a document? */
export function isDocumentId(value: string): boolean {
  return value !== "" && Buffer.byteLength(value) <= MAX_DOCUMENT_ID_BYTES;
}

export function checkName(field: string, value: string, violations: Violations): void {
  if (isName(value)) return;
  violations.add(
    field,
    `1..128 characters of A-Z, a-z, 0-9, "_", "." and "-", the first a letter or digit; got ${quoted(value)}`,
  );
}

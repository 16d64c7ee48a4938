import type { BatchDeleteSpec } from "../../../../proto/gen/arrwdb/v1/jobs.ts";
import { checkFilter } from "./filter.ts";
import { isDocumentId } from "./ids.ts";
import { quoted, type Violations } from "./violations.ts";

const MAX_DOCUMENT_IDS = 100_000;
/** Each is looked for in every library. */
const MAX_IDS_WITHOUT_LIBRARY = 10_000;
const PATH = "spec.batch_delete";

/** Either ids or a filter: a filter that happens to be empty must not delete every document there is. */
export function checkDelete(
  { documentIds, filter }: BatchDeleteSpec,
  hasLibrary: boolean,
  violations: Violations,
): void {
  if (filter) {
    if (documentIds.length > 0) {
      violations.add(`${PATH}.filter`, `instead of document_ids; got both, ${documentIds.length} ids`);
    }
    if (filter.all.length === 0) violations.add(`${PATH}.filter.all`, "at least one condition; got 0");
    checkFilter(`${PATH}.filter`, filter, violations);
  } else if (documentIds.length === 0) {
    violations.add(`${PATH}.document_ids`, "at least one, or a filter; got 0");
  }
  const most = hasLibrary ? MAX_DOCUMENT_IDS : MAX_IDS_WITHOUT_LIBRARY;
  violations.maxItems(`${PATH}.document_ids`, documentIds.length, most);
  for (const [index, id] of documentIds.entries()) {
    if (violations.full) return;
    if (!isDocumentId(id))
      violations.add(`${PATH}.document_ids[${index}]`, `1..512 bytes; got ${quoted(id)}`);
  }
}

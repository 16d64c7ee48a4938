import type { BatchExportSpec } from "../../../../proto/gen/arrwdb/v1/jobs.ts";
import type { Violations } from "./violations.ts";

const FORMATS: readonly string[] = ["json", "ndjson", "csv"];

export function checkExport({ format }: BatchExportSpec, violations: Violations): void {
  if (format !== "") violations.oneOf("spec.batch_export.format", format, FORMATS);
}

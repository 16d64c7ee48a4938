import type { IndexConfig } from "../../../../proto/gen/arrwdb/v1/document.ts";
import { quoted, type Violations } from "./violations.ts";

/** Types and parameters of an index, of a new library or a rebuilt one. */

const INDEX_TYPES: readonly string[] = ["hnsw", "flat"];
const METRICS: readonly string[] = ["cos", "ip", "l2sq"];
const SCALARS: readonly string[] = ["f32", "f16", "bf16", "i8"];
const MAX_EXPANSION = 10_000;

/** What unset fields stand for; "" = not known. */
export interface IndexDefaults {
  readonly metric: string;
  readonly scalar: string;
}

/** @param prefix of the fields' paths: "" or "spec.index_rebuild." */
export function checkIndex(
  prefix: string,
  indexType: string,
  config: IndexConfig | undefined,
  defaults: IndexDefaults,
  violations: Violations,
): void {
  const path = `${prefix}index_config`;
  if (indexType !== "") violations.oneOf(`${prefix}index_type`, indexType, INDEX_TYPES);
  if (!config) return;
  const { metric, scalar, connectivity, expansionAdd, expansionSearch } = config;
  if (metric !== "") violations.oneOf(`${path}.metric`, metric, METRICS);
  if (scalar !== "") violations.oneOf(`${path}.scalar`, scalar, SCALARS);
  const then = { metric: metric || defaults.metric, scalar: scalar || defaults.scalar };
  if (then.scalar === "i8" && then.metric !== "" && then.metric !== "cos") {
    const field = scalar === "" ? "metric" : "scalar";
    violations.add(`${path}.${field}`, `scalar i8 goes with metric cos only; got ${quoted(then.metric)}`);
  }
  if (connectivity !== 0) violations.integer(`${path}.connectivity`, connectivity, 2, 128);
  if (expansionAdd !== 0) violations.integer(`${path}.expansion_add`, expansionAdd, 1, MAX_EXPANSION);
  if (expansionSearch !== 0) {
    violations.integer(`${path}.expansion_search`, expansionSearch, 1, MAX_EXPANSION);
  }
}

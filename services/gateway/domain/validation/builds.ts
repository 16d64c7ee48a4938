import type { IndexRebuildSpec, RegenerateEmbeddingsSpec } from "../../../../proto/gen/arrwdb/v1/jobs.ts";
import { checkIndex } from "./index-config.ts";
import type { LibraryShape } from "./vector.ts";
import type { Violations } from "./violations.ts";

/** Specs of jobs that build an index. `library` undefined: it is not known, so what depends on it is not checked. */

const UNKNOWN = { metric: "", scalar: "" };

export function checkRebuild(
  { indexType, indexConfig, minRecall }: IndexRebuildSpec,
  library: LibraryShape | undefined,
  violations: Violations,
): void {
  const path = "spec.index_rebuild.";
  checkIndex(path, indexType, indexConfig, library ?? UNKNOWN, violations);
  checkMinRecall(`${path}min_recall`, minRecall, violations);
}

/** All but the embedding's own fields. */
export function checkRegenerate(
  { embedding, minRecall }: RegenerateEmbeddingsSpec,
  library: LibraryShape | undefined,
  violations: Violations,
): void {
  const path = "spec.regenerate_embeddings.";
  checkMinRecall(`${path}min_recall`, minRecall, violations);
  if (embedding?.provider === "none") {
    violations.add(`${path}embedding.provider`, "one that embeds texts; got none");
  } else if (!embedding && library?.provider === "none") {
    violations.add(`${path}embedding`, "needed, the library's provider is none: nobody embeds its texts");
  }
}

function checkMinRecall(field: string, value: number, violations: Violations): void {
  if (!(value >= 0 && value <= 1)) violations.add(field, `0..1; got ${value}`);
}

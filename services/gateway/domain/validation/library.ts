import type {
  CreateLibraryRequest,
  ListDocumentsRequest,
  ListLibrariesRequest,
  SearchRequest,
} from "../../../../proto/gen/arrwdb/v1/libraries.ts";
import { checkFilter } from "./filter.ts";
import { checkName } from "./ids.ts";
import { checkPage } from "./paging.ts";
import { checkVector, type LibraryShape } from "./vector.ts";
import { quoted, type Violation, Violations } from "./violations.ts";

export const INDEX_TYPES: readonly string[] = ["hnsw", "flat"];
export const METRICS: readonly string[] = ["cos", "ip", "l2sq"];
export const SCALARS: readonly string[] = ["f32", "f16", "bf16", "i8"];
export const MAX_DIMENSIONS = 16_384;
const MAX_K = 10_000;
const MAX_EXPANSION = 10_000;
const MAX_MODEL_BYTES = 256;
const MAX_TEXT_BYTES = 32_768;

/** Checks what the client set; the unset fields take their defaults after it. */
export function checkCreateLibrary(
  request: CreateLibraryRequest,
  providers: readonly string[],
): readonly Violation[] {
  const violations = new Violations();
  const { libraryId, name, embedding, indexType, indexConfig } = request;
  if (libraryId !== "") checkName("library_id", libraryId, violations);
  if (name !== "") checkName("name", name, violations);
  if (embedding) {
    if (embedding.provider !== "") violations.oneOf("embedding.provider", embedding.provider, providers);
    violations.maxBytes("embedding.model", embedding.model, MAX_MODEL_BYTES);
    violations.integer("embedding.dimensions", embedding.dimensions, 1, MAX_DIMENSIONS);
  }
  if (indexType !== "") violations.oneOf("index_type", indexType, INDEX_TYPES);
  if (!indexConfig) return violations.list;
  const { metric, scalar, connectivity, expansionAdd, expansionSearch } = indexConfig;
  if (metric !== "") violations.oneOf("index_config.metric", metric, METRICS);
  if (scalar !== "") violations.oneOf("index_config.scalar", scalar, SCALARS);
  if (scalar === "i8" && metric !== "" && metric !== "cos") {
    violations.add("index_config.scalar", `i8 goes with metric cos only; got ${quoted(metric)}`);
  }
  if (connectivity !== 0) violations.integer("index_config.connectivity", connectivity, 2, 128);
  if (expansionAdd !== 0) violations.integer("index_config.expansion_add", expansionAdd, 1, MAX_EXPANSION);
  if (expansionSearch !== 0) {
    violations.integer("index_config.expansion_search", expansionSearch, 1, MAX_EXPANSION);
  }
  return violations.list;
}

export function checkListLibraries(request: ListLibrariesRequest): readonly Violation[] {
  const violations = new Violations();
  checkPage(request, violations);
  return violations.list;
}

export function checkListDocuments(request: ListDocumentsRequest): readonly Violation[] {
  const violations = new Violations();
  checkPage(request, violations);
  checkFilter("filter", request.filter, violations);
  return violations.list;
}

/** `library` undefined: it does not exist or can't be asked. */
export function checkSearch(request: SearchRequest, library: LibraryShape | undefined): readonly Violation[] {
  const violations = new Violations();
  violations.integer("k", request.k, 1, MAX_K);
  violations.integer("ef_search", request.efSearch, 0, MAX_EXPANSION);
  checkFilter("filter", request.filter, violations);
  const { query } = request;
  switch (query?.$case) {
    case undefined:
      violations.add("query", "one of text and vector is needed; got none");
      break;
    case "text":
      if (query.value === "") violations.add("text", "not empty; got an empty text");
      violations.maxBytes("text", query.value, MAX_TEXT_BYTES);
      if (library?.provider === "none") {
        violations.add("text", "a vector is needed, the library's provider is none; got a text");
      }
      break;
    case "vector":
      checkVector("vector", query.value, library, violations);
      break;
  }
  return violations.list;
}

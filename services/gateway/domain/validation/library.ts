import type {
  CreateLibraryRequest,
  ListDocumentsRequest,
  ListLibrariesRequest,
  SearchRequest,
} from "../../../../proto/gen/arrwdb/v1/libraries.ts";
import { checkFilter } from "./filter.ts";
import { checkName } from "./ids.ts";
import { checkIndex } from "./index-config.ts";
import { checkPage } from "./paging.ts";
import { checkVector, type LibraryShape } from "./vector.ts";
import { type Violation, Violations } from "./violations.ts";

export const MAX_DIMENSIONS = 16_384;
const MAX_K = 10_000;
const MAX_EXPANSION = 10_000;
const MAX_MODEL_BYTES = 256;
const NEED_MODEL: readonly string[] = ["openai", "cohere"];
const MAX_TEXT_BYTES = 32_768;
/** A library that is not there yet: what is unset takes a default that goes with anything. */
const UNSET = { metric: "cos", scalar: "" };

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
    if (embedding.model === "" && NEED_MODEL.includes(embedding.provider)) {
      violations.add("embedding.model", `needed for ${embedding.provider}; got ""`);
    }
    violations.integer("embedding.dimensions", embedding.dimensions, 1, MAX_DIMENSIONS);
  }
  checkIndex("", indexType, indexConfig, UNSET, violations);
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

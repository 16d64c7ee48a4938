import { invalidArgument, type Violation } from "../../platform/errors.ts";
import type {
  CreateLibraryRequest,
  DocumentUpsert,
  Fence,
  UpsertDocumentsRequest,
} from "../../proto/gen/arrwdb/index/v1/index.ts";
import type { Filter } from "../../proto/gen/arrwdb/v1/document.ts";
import type { LibraryConfig } from "./catalog.ts";
import { isDocumentId, MAX_DOCUMENT_ID_BYTES } from "./document-scan.ts";
import { filterFaults } from "./domain/filter.ts";
import { METRICS, type Metric } from "./domain/score.ts";
import { isWithin, largestValue } from "./domain/vector-bounds.ts";
import { assertEmbedding } from "./generations.ts";
import type { DocumentWrite, FenceClaim } from "./library-writer.ts";
import type { GenerationRow, IndexShape } from "./store.ts";
import { allFinite, MAX_DIMENSIONS, SCALARS, type Scalar } from "./usearch-index.ts";

/**
 * What the index service takes. The gateway checks for clients and says more; these checks keep the store and usearch
 * safe whoever calls.
 */

export const MAX_CHUNKS = 10_000;
export const MAX_DELETED = 10_000;
const MAX_PAGE = 1_000;
export const INDEX_TYPES = ["hnsw", "flat"] as const;

export class Checks {
  readonly #violations: Violation[] = [];

  /** Notes a violation unless `holds`. */
  that(holds: boolean, field: string, description: string): boolean {
    if (!holds) this.#violations.push({ field, description });
    return holds;
  }

  integer(field: string, value: number, min: number, max: number): boolean {
    return this.that(
      Number.isInteger(value) && value >= min && value <= max,
      field,
      `${min}..${max}, got ${value}`,
    );
  }

  oneOf<T extends string>(field: string, value: string, allowed: readonly T[]): value is T {
    const known = (allowed as readonly string[]).includes(value);
    return this.that(
      known,
      field,
      `one of ${allowed.join(", ")}, got ${JSON.stringify(value.slice(0, 100))}`,
    );
  }

  /** @throws INVALID_ARGUMENT with everything noted */
  done(): void {
    if (this.#violations.length > 0) throw invalidArgument(this.#violations);
  }
}

export function checkedConfig(request: CreateLibraryRequest): LibraryConfig {
  const checks = new Checks();
  const { libraryId, name, embedding, indexType, indexConfig } = request;
  checks.that(/^[A-Za-z0-9_.-]{1,128}$/.test(libraryId), "library_id", "1..128 of A-Z a-z 0-9 _ . -");
  checks.that(name !== "" && Buffer.byteLength(name) <= 512, "name", "1..512 bytes of UTF-8");
  const { provider = "", model = "", dimensions = 0 } = embedding ?? {};
  checks.that(provider !== "" && Buffer.byteLength(provider) <= 256, "embedding.provider", "1..256 bytes");
  checks.that(Buffer.byteLength(model) <= 256, "embedding.model", "at most 256 bytes");
  checks.integer("embedding.dimensions", dimensions, 1, MAX_DIMENSIONS);
  checks.oneOf("index_type", indexType, INDEX_TYPES);
  const {
    metric = "",
    scalar = "",
    connectivity = 0,
    expansionAdd = 0,
    expansionSearch = 0,
  } = indexConfig ?? {};
  checks.oneOf("index_config.metric", metric, METRICS);
  checks.oneOf("index_config.scalar", scalar, SCALARS);
  checks.integer("index_config.connectivity", connectivity, 2, 128);
  checks.integer("index_config.expansion_add", expansionAdd, 1, 10_000);
  checks.integer("index_config.expansion_search", expansionSearch, 1, 10_000);
  // i8 keeps a vector's direction alone: usearch scales each to the same length.
  checks.that(scalar !== "i8" || metric === "cos", "index_config.scalar", "i8 goes with metric cos only");
  checks.done();
  return {
    id: libraryId,
    name,
    embedding: { provider, model, dimensions },
    indexType: indexType as (typeof INDEX_TYPES)[number],
    metric: metric as Metric,
    scalar: scalar as Scalar,
    connectivity,
    expansionAdd,
    expansionSearch,
  };
}

/** @param fence undefined = none is claimed */
export function checkedFence(fence: Fence | undefined, checks: Checks): FenceClaim | undefined {
  if (!fence) return undefined;
  const { jobId, lease } = fence;
  checks.that(jobId !== "" && Buffer.byteLength(jobId) <= 256, "fence.job_id", "1..256 bytes");
  checks.that(lease >= 1n, "fence.lease", `at least 1, got ${lease}`);
  return { jobId, lease };
}

/** A fence that must be there. */
export function requiredFence(fence: Fence | undefined): FenceClaim {
  const checks = new Checks();
  checks.that(fence !== undefined, "fence", "is needed");
  const claim = checkedFence(fence, checks);
  checks.done();
  return claim as FenceClaim;
}

/** Why packed vectors can't be taken; undefined = they can. */
function vectorFault(values: Float32Array, { metric, scalar }: IndexShape): string | undefined {
  if (!allFinite(values)) return "all values must be finite";
  const max = largestValue(metric, scalar);
  return isWithin(values, max) ? undefined : `values must be within -${max}..${max}`;
}

/** Bytes at any address as numbers, for a look: not copied if they are where float32 may be. */
function viewed(bytes: Uint8Array): Float32Array {
  const aligned = bytes.byteOffset % 4 === 0;
  return aligned ? new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2) : unpack(bytes);
}

/** Bytes at any address as numbers of their own; the length must be a multiple of 4. */
function unpack(bytes: Uint8Array): Float32Array {
  const values = new Float32Array(bytes.length >> 2);
  new Uint8Array(values.buffer).set(bytes.subarray(0, values.byteLength));
  return values;
}

/** @throws INVALID_ARGUMENT with all that `checks` has noted, EMBEDDING_CHANGED */
export function checkedQuery(
  bytes: Uint8Array,
  embeddingId: string,
  generation: GenerationRow,
  checks: Checks,
): Float32Array {
  if (embeddingId !== generation.embeddingId) checks.done();
  assertEmbedding(generation, embeddingId);
  const { dimensions } = generation.embedding;
  const fits = bytes.length === dimensions * 4;
  checks.that(fits, "vector", `${dimensions} float32 (${dimensions * 4} bytes), got ${bytes.length} bytes`);
  const values = unpack(fits ? bytes : Buffer.alloc(0));
  const fault = vectorFault(values, generation);
  if (fault) checks.that(false, "vector", fault);
  checks.done();
  return values;
}

export function checkFilter(filter: Filter | undefined, checks: Checks): void {
  for (const { field, description } of filter ? filterFaults(filter) : [])
    checks.that(false, `filter.${field}`, description);
}

export function checkPageSize(pageSize: number, checks: Checks): void {
  checks.integer("page_size", pageSize, 1, MAX_PAGE);
}

/** @throws INVALID_ARGUMENT with all violations, EMBEDDING_CHANGED */
export function checkedUpsert(
  request: UpsertDocumentsRequest,
  generation: GenerationRow,
): { readonly fence: FenceClaim | undefined; readonly documents: DocumentWrite[] } {
  const checks = new Checks();
  const fence = checkedFence(request.fence, checks);
  const chunks = request.documents.reduce((sum, { document }) => sum + (document?.texts.length ?? 0), 0);
  checks.that(chunks <= MAX_CHUNKS, "documents", `at most ${MAX_CHUNKS} chunks, got ${chunks}`);
  checks.that(request.documents.length > 0, "documents", "at least one");
  // Vectors of another embedding need not be of this one's length.
  if (request.embeddingId !== generation.embeddingId) checks.done();
  assertEmbedding(generation, request.embeddingId);
  const documents = request.documents.map((each, i) =>
    checkedDocument(each, generation, `documents[${i}]`, checks),
  );
  checks.done();
  return { fence, documents };
}

function checkedDocument(
  upsert: DocumentUpsert,
  shape: IndexShape,
  path: string,
  checks: Checks,
): DocumentWrite {
  const { document, vectors } = upsert;
  const documentId = document?.documentId ?? "";
  const texts = document?.texts ?? [];
  checks.that(
    isDocumentId(documentId),
    `${path}.document.document_id`,
    `1..${MAX_DOCUMENT_ID_BYTES} bytes, got ${Buffer.byteLength(documentId)}`,
  );
  checks.that(texts.length > 0, `${path}.document.texts`, "at least one");
  checks.that(document?.vectors.length === 0, `${path}.document.vectors`, "must be unset; vectors go packed");
  const expected = texts.length * shape.embedding.dimensions * 4;
  const description = `${texts.length} x ${shape.embedding.dimensions} float32 (${expected} bytes), got ${vectors.length} bytes`;
  if (checks.that(vectors.length === expected, `${path}.vectors`, description)) {
    const fault = vectorFault(viewed(vectors), shape);
    if (fault) checks.that(false, `${path}.vectors`, fault);
  }
  return {
    documentId,
    title: document?.title ?? "",
    author: document?.author ?? "",
    tags: document?.tags ?? [],
    sourceUrl: document?.sourceUrl ?? "",
    metadata: document?.metadata,
    texts,
    vectors,
  };
}

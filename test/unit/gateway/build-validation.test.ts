import assert from "node:assert/strict";
import { test } from "node:test";
import { type DeepPartial, type JobSpec, SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { Library } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { checkSubmit } from "../../../services/gateway/domain/validation/submit.ts";
import { shapeOf } from "../../../services/gateway/domain/validation/vector.ts";

type Spec = NonNullable<JobSpec["spec"]>;

function violations(spec: DeepPartial<Spec>, library?: DeepPartial<Library>): string[] {
  const request = SubmitJobRequest.fromPartial({
    libraryId: "books",
    spec: { spec },
  } as DeepPartial<SubmitJobRequest>);
  const shape = library && shapeOf(Library.fromPartial(library));
  return checkSubmit(request, { library: shape, streamed: false }).map(
    ({ field, description }) => `${field}: ${description}`,
  );
}

const rebuild = (value: DeepPartial<Extract<Spec, { $case: "indexRebuild" }>["value"]>) =>
  ({ $case: "indexRebuild", value }) as DeepPartial<Spec>;
const regenerate = (value: DeepPartial<Extract<Spec, { $case: "regenerateEmbeddings" }>["value"]>) =>
  ({ $case: "regenerateEmbeddings", value }) as DeepPartial<Spec>;

test("a rebuild's fields are checked, all at once", () => {
  assert.deepEqual(violations(rebuild({})), []);
  const good = { metric: "l2sq", scalar: "f32", connectivity: 128, expansionAdd: 10_000, expansionSearch: 1 };
  assert.deepEqual(violations(rebuild({ indexType: "flat", indexConfig: good, minRecall: 1 })), []);
  const bad = { metric: "l1", scalar: "f8", connectivity: 1, expansionAdd: 10_001, expansionSearch: -1 };
  assert.deepEqual(violations(rebuild({ indexType: "tree", indexConfig: bad, minRecall: Number.NaN })), [
    'spec.index_rebuild.index_type: one of hnsw, flat; got "tree"',
    'spec.index_rebuild.index_config.metric: one of cos, ip, l2sq; got "l1"',
    'spec.index_rebuild.index_config.scalar: one of f32, f16, bf16, i8; got "f8"',
    "spec.index_rebuild.index_config.connectivity: 2..128; got 1",
    "spec.index_rebuild.index_config.expansion_add: 1..10,000; got 10001",
    "spec.index_rebuild.index_config.expansion_search: 1..10,000; got -1",
    "spec.index_rebuild.min_recall: 0..1; got NaN",
  ]);
  for (const minRecall of [-0.01, 1.01]) {
    assert.deepEqual(violations(rebuild({ minRecall })), [
      `spec.index_rebuild.min_recall: 0..1; got ${minRecall}`,
    ]);
  }
});

test("scalar i8 goes with cos alone, also with what the library has already", () => {
  const path = "spec.index_rebuild.index_config";
  const refused = (field: string, metric: string) => [
    `${path}.${field}: scalar i8 goes with metric cos only; got "${metric}"`,
  ];
  const i8 = rebuild({ indexConfig: { scalar: "i8" } });
  const ip = rebuild({ indexConfig: { metric: "ip" } });
  const library = (metric: string, scalar: string) => ({ indexConfig: { metric, scalar } });
  assert.deepEqual(violations(i8), []);
  assert.deepEqual(violations(i8, library("cos", "f32")), []);
  assert.deepEqual(violations(i8, library("ip", "f32")), refused("scalar", "ip"));
  assert.deepEqual(violations(ip, library("cos", "i8")), refused("metric", "ip"));
  assert.deepEqual(
    violations(rebuild({ indexConfig: { metric: "cos", scalar: "i8" } }), library("ip", "f32")),
    [],
  );
  assert.deepEqual(violations(rebuild({ indexConfig: { connectivity: 8 } }), library("cos", "i8")), []);
});

test("a regenerate needs somebody who embeds", () => {
  const none = { embedding: { provider: "none", dimensions: 3 } };
  assert.deepEqual(violations(regenerate({})), []);
  assert.deepEqual(violations(regenerate({}), { embedding: { provider: "hashing" } }), []);
  assert.deepEqual(violations(regenerate({}), none), [
    "spec.regenerate_embeddings.embedding: needed, the library's provider is none: nobody embeds its texts",
  ]);
  assert.deepEqual(violations(regenerate({ embedding: { provider: "hashing" } }), none), []);
  assert.deepEqual(violations(regenerate({ ...none, minRecall: 2 })), [
    "spec.regenerate_embeddings.min_recall: 0..1; got 2",
    "spec.regenerate_embeddings.embedding.provider: one that embeds texts; got none",
  ]);
});

test("an optimize has nothing to check", () => {
  assert.deepEqual(violations({ $case: "indexOptimize", value: {} } as DeepPartial<Spec>), []);
});

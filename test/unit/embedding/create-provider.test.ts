import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  completeEmbeddingConfig,
  createProvider,
  PROVIDERS,
} from "../../../platform/embedding/create-provider.ts";
import { ArrwError } from "../../../platform/errors.ts";

const never = new AbortController().signal;

function violationsOf(run: () => unknown): Record<string, string> {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ArrwError);
    assert.equal(error.code, "INVALID_ARGUMENT");
    return Object.fromEntries(error.violations.map((violation) => [violation.field, violation.description]));
  }
  return assert.fail("nothing was thrown");
}

describe("createProvider", () => {
  test("unset fields mean hashing, ngram-v1, 256", () => {
    assert.deepEqual(completeEmbeddingConfig(undefined), {
      provider: "hashing",
      model: "ngram-v1",
      dimensions: 256,
    });
    assert.equal(createProvider({ provider: "hashing", model: "", dimensions: 0 }).dimensions, 256);
    assert.equal(createProvider({ provider: "hashing", model: "ngram-v1", dimensions: 512 }).dimensions, 512);
  });

  test("an unknown provider is refused with the known ones and the value", () => {
    const violations = violationsOf(() => createProvider({ provider: "word2vec", model: "", dimensions: 8 }));
    assert.deepEqual(Object.keys(violations), ["embedding.provider"]);
    for (const name of [...PROVIDERS, "word2vec"])
      assert.match(violations["embedding.provider"] ?? "", RegExp(name));
  });

  test("all violations come at once", () => {
    const violations = violationsOf(() =>
      createProvider({ provider: "hashing", model: "gpt", dimensions: 1_000_000_000 }),
    );
    assert.match(violations["embedding.model"] ?? "", /ngram-v1.*"gpt"/);
    assert.match(violations["embedding.dimensions"] ?? "", /16384; got 1000000000/);
  });

  test("dimensions are whole, from 1 to 16,384; none has no default", () => {
    for (const dimensions of [-1, 16_385, 1.5]) {
      const violations = violationsOf(() => createProvider({ provider: "hashing", model: "", dimensions }));
      assert.deepEqual(Object.keys(violations), ["embedding.dimensions"]);
    }
    const violations = violationsOf(() => createProvider({ provider: "none", model: "", dimensions: 0 }));
    assert.deepEqual(Object.keys(violations), ["embedding.dimensions"]);
    assert.equal(createProvider({ provider: "none", model: "mine", dimensions: 3 }).dimensions, 3);
  });

  test("openai and cohere need a model and dimensions, and a process that has their settings", () => {
    for (const provider of ["openai", "cohere"]) {
      const violations = violationsOf(() => completeEmbeddingConfig({ provider, model: "", dimensions: 0 }));
      assert.deepEqual(Object.keys(violations), ["embedding.model", "embedding.dimensions"]);
      assert.match(violations["embedding.model"] ?? "", RegExp(`needed for ${provider}`));
      const whole = { provider, model: "small", dimensions: 8 };
      assert.deepEqual(completeEmbeddingConfig(whole), whole);
      assert.throws(() => createProvider(whole), { reason: "EMBEDDING_NOT_SET_UP" });
    }
  });

  test("none embeds nothing", async () => {
    const provider = createProvider({ provider: "none", model: "", dimensions: 3 });
    await assert.rejects(provider.embed(["text"], never), {
      code: "FAILED_PRECONDITION",
      message: "this library takes vectors, not texts",
    });
  });
});

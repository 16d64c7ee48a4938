import assert from "node:assert/strict";
import { test } from "node:test";
import { ArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import {
  CreateLibraryRequest,
  Library,
  SearchRequest,
  type SearchResponse,
} from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { EmbeddingServer, TOO_LONG, vectorOf } from "../../support/embedding-server.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import type { Cleanup } from "../../support/temp.ts";

/** Query texts of libraries whose provider is asked over HTTP. */

const CALL = { timeoutMs: 20_000 };
const KEY = "sk-gateway-secret";

async function start(t: Cleanup): Promise<TestGateway & { provider: EmbeddingServer }> {
  const provider = await EmbeddingServer.start(t);
  const gateway = await startTestGateway(t, [], {
    ARRW_OPENAI_BASE_URL: provider.url,
    ARRW_OPENAI_API_KEY: KEY,
    ARRW_COHERE_BASE_URL: provider.url,
    ARRW_EMBEDDING_QUERY_TIMEOUT_MS: "500",
  });
  for (const name of ["openai", "cohere"]) {
    const embedding = { provider: name, model: "small", dimensions: provider.dimensions };
    gateway.index.libraries.set(
      name,
      Library.fromPartial({ libraryId: name, name, embedding, generation: 1n }),
    );
  }
  return { ...gateway, provider };
}

function search({ libraries }: TestGateway, libraryId: string, text: string): Promise<SearchResponse> {
  const request = SearchRequest.fromPartial({ libraryId, query: { $case: "text", value: text }, k: 1 });
  return unary(libraries, libraries.search, request, CALL);
}

async function errorOf(call: Promise<unknown>): Promise<ArrwError> {
  const error = await call.then(
    () => assert.fail("it answered"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ArrwError);
  assert.ok(!JSON.stringify([error.message, error.metadata, error.violations]).includes(KEY));
  return error;
}

test("a query is embedded as a query, and the same text is embedded once", async (t) => {
  const gateway = await start(t);
  const { provider, index } = gateway;
  for (const text of ["whales", "whales", "ships", "whales"]) await search(gateway, "openai", text);
  index.embeddingId = "embedding-2";
  await search(gateway, "cohere", "whales");
  const vectors = index.searches.map(({ vector }) => vector.toString("hex"));
  const expected = ["whales", "whales", "ships", "whales", "search_query whales"].map((text) =>
    Buffer.from(vectorOf(text, provider.dimensions).buffer).toString("hex"),
  );
  assert.deepEqual(vectors, expected);
  assert.equal(provider.calls.length, 3);
});

test("a provider that fails is answered in time, with the reason", async (t) => {
  const gateway = await start(t);
  const { provider } = gateway;
  const cases: [Parameters<typeof faultOf>[0], string, string, RegExp][] = [
    ["hang", "UNAVAILABLE", "EMBEDDING_UNAVAILABLE", /no answer within 500 ms/],
    [500, "UNAVAILABLE", "EMBEDDING_UNAVAILABLE", /HTTP 500/],
    [401, "FAILED_PRECONDITION", "EMBEDDING_UNAUTHORIZED", /check ARRW_OPENAI_API_KEY/],
    [429, "RESOURCE_EXHAUSTED", "EMBEDDING_RATE_LIMITED", /takes no more calls for the next \d+ s/],
  ];
  for (const [fault, code, reason, message] of cases) {
    provider.fault = () => faultOf(fault);
    const beganMs = performance.now();
    const error = await errorOf(search(gateway, "openai", `text ${fault}`));
    assert.ok(performance.now() - beganMs < 5_000);
    assert.deepEqual([error.code, error.reason], [code, reason]);
    assert.match(error.message, message);
    if (fault === 429) assert.ok((error.retryAfterMs ?? 0) > 9_000);
  }
  await provider.close();
  gateway.index.embeddingId = "embedding-2";
  const closed = await errorOf(search(gateway, "cohere", "text"));
  assert.deepEqual([closed.code, closed.reason], ["UNAVAILABLE", "EMBEDDING_UNAVAILABLE"]);
  assert.match(closed.message, /cohere does not answer: .*ECONNREFUSED/);
});

test("a text that the provider refuses is the client's to change", async (t) => {
  const gateway = await start(t);
  const error = await errorOf(search(gateway, "openai", TOO_LONG));
  assert.equal(error.code, "INVALID_ARGUMENT");
  assert.deepEqual(
    error.violations.map(({ field }) => field),
    ["text"],
  );
  assert.match(error.message, /maximum context length/);
});

test("a library of such a provider needs a model and dimensions", async (t) => {
  const { libraries } = await start(t);
  for (const provider of ["openai", "cohere"]) {
    const bare = CreateLibraryRequest.fromPartial({ name: provider, embedding: { provider } });
    const error = await errorOf(unary(libraries, libraries.createLibrary, bare, CALL));
    assert.deepEqual(error.violations.map(({ field }) => field).sort(), [
      "embedding.dimensions",
      "embedding.model",
    ]);
    const embedding = { provider, model: "small", dimensions: 8 };
    const whole = CreateLibraryRequest.fromPartial({ libraryId: `new-${provider}`, embedding });
    const { library } = await unary(libraries, libraries.createLibrary, whole, CALL);
    assert.deepEqual([library?.embedding?.provider, library?.embedding?.model], [provider, "small"]);
  }
});

function faultOf(fault: "hang" | number) {
  return fault === "hang" ? fault : { status: fault, headers: { "retry-after": "10" } };
}

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { complaintOf, messageOf, readVector, refusalOf } from "../../../platform/embedding/answer.ts";
import { cohere } from "../../../platform/embedding/cohere.ts";
import { openai } from "../../../platform/embedding/openai.ts";

test("a status says what to do about it", () => {
  const expected: [number, string, string][] = [
    [429, "slow down", "rate limited"],
    [429, "You exceeded your current quota, please check your plan (insufficient_quota)", "no quota"],
    [401, "", "unauthorized"],
    [403, "", "unauthorized"],
    [498, "", "unauthorized"],
    [404, "", "not found"],
    [402, "", "no quota"],
    [500, "", "unavailable"],
    [503, "", "unavailable"],
    [529, "", "unavailable"],
    [408, "", "unavailable"],
    [424, "", "unavailable"],
    [413, "", "too large"],
    [400, "This model's maximum context length is 8192 tokens", "too large"],
    [400, "too many tokens: total number of tokens in the prompt cannot exceed 128", "too large"],
    [422, "batch size 64 > maximum allowed batch size 32", "too large"],
    [413, "inputs must have less than 512 tokens. Given: 1024", "too large"],
    [400, "batch size is invalid, it should not be larger than 10.", "too large"],
    [400, "invalid input_type", "bad request"],
    [422, "no", "bad request"],
    [301, "", "unusable"],
    [418, "", "unusable"],
  ];
  for (const [status, complaint, refusal] of expected) {
    assert.equal(refusalOf(status, complaint), refusal, `${status} ${complaint}`);
  }
});

test("no quota is left where the code or the provider's own sentence says so, not where billing is mentioned", () => {
  const slow = "Rate limit reached. Visit your account's billing page to raise it";
  const long = "x".repeat(400);
  const bodies: [unknown, string][] = [
    [{ error: { message: slow, type: "requests", code: "rate_limit_exceeded" } }, "rate limited"],
    [{ error: { message: slow } }, "rate limited"],
    [{ error: { message: "", code: "insufficient_quota" } }, "no quota"],
    [{ error: { message: "", type: "insufficient_quota", code: null } }, "no quota"],
    [{ error: { message: `${long} You exceeded your current quota` } }, "no quota"],
    [{ error: { message: long, code: "insufficient_quota" } }, "no quota"],
    [{ error: { message: "it is not insufficient_quota" } }, "rate limited"],
  ];
  for (const [body, refusal] of bodies) {
    assert.equal(refusalOf(429, JSON.stringify(body)), refusal, JSON.stringify(body).slice(0, 80));
  }
  const tooLong = JSON.stringify({ error: { message: `${long} maximum context length is 8192 tokens` } });
  assert.equal(refusalOf(400, tooLong), "too large");
  assert.match(messageOf(tooLong), /8192 tokens$/);
});

test("complaints are found where servers put them, on one line, without the key", () => {
  const key = "sk-secret-123";
  const bodies: [string, string][] = [
    [
      JSON.stringify({ error: { message: "too\n long", code: "context_length" } }),
      "too long (context_length)",
    ],
    [JSON.stringify({ error: "Model is overloaded", error_type: "overloaded" }), "Model is overloaded"],
    [JSON.stringify({ message: "invalid api token" }), "invalid api token"],
    [JSON.stringify({ object: "error", message: "no dimensions", code: 400 }), "no dimensions"],
    [JSON.stringify({ detail: "Not Found" }), "Not Found"],
    ["<html><body>Bad Gateway</body></html>", ""],
    ["plain", "plain"],
    ["", ""],
    [JSON.stringify({ message: `key ${key} is wrong` }), "key *** is wrong"],
  ];
  for (const [body, expected] of bodies) assert.equal(complaintOf(body, key), expected);
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 400 }), fc.string(), (before, after) => {
      for (const body of [
        before + key + after,
        JSON.stringify({ error: { message: before + key + after } }),
      ]) {
        const said = complaintOf(body, key);
        assert.ok(!said.includes(key));
        assert.ok(said.length <= 300);
        assert.ok(!/[\n\r\0]/.test(said));
      }
    }),
  );
});

test("vectors come as numbers or base64; what can't be used is named", () => {
  const row = new Float32Array(3);
  assert.equal(readVector([1, 2, 3], row), undefined);
  assert.deepEqual([...row], [1, 2, 3]);
  const packed = Buffer.from(Float32Array.of(4, 5, 6).buffer).toString("base64");
  assert.equal(readVector(packed, row), undefined);
  assert.deepEqual([...row], [4, 5, 6]);
  const nan = Buffer.from(Float32Array.of(1, Number.NaN, 3).buffer).toString("base64");
  const faults: [unknown, RegExp][] = [
    [[1, 2], /have 2 dimensions, the library's 3/],
    [[1, 2, 3, 4], /have 4 dimensions/],
    [Buffer.alloc(16).toString("base64"), /have 4 dimensions/],
    ["AAAA", /not base64 of float32/],
    [nan, /not finite/],
    [[1, 1e39, 3], /not finite/],
    [[1, null, 3], /no numbers/],
    [["1", 2, 3], /no numbers/],
    [undefined, /neither/],
    [{}, /neither/],
  ];
  for (const [vector, fault] of faults) assert.match(readVector(vector, row) ?? "", fault);
});

test("OpenAI's index says which vector is which; an answer of another shape has none", () => {
  const vectors = openai.vectors({
    data: [
      { index: 1, embedding: [2] },
      { index: 0, embedding: [1] },
    ],
  });
  assert.deepEqual(vectors, [[1], [2]]);
  assert.deepEqual(openai.vectors({ data: [{ embedding: [1] }] }), [[1]]);
  const wrong = [
    null,
    [],
    "x",
    {},
    { data: {} },
    {
      data: [
        { index: 0, embedding: [1] },
        { index: 0, embedding: [2] },
      ],
    },
    { data: [{ index: 7, embedding: [1] }] },
    { data: [{ index: -1, embedding: [1] }] },
    { data: [{ index: "0", embedding: [1] }] },
  ];
  for (const answer of wrong) assert.equal(openai.vectors(answer), undefined, JSON.stringify(answer));
  assert.deepEqual(cohere.vectors({ embeddings: { float: [[1]] } }), [[1]]);
  for (const answer of [null, {}, { embeddings: [[1]] }]) assert.equal(cohere.vectors(answer), undefined);
});

test("base URLs work with and without their version", () => {
  for (const base of [
    "http://host:11434",
    "http://host:11434/",
    "http://host:11434/v1",
    "http://host:11434/v1/",
  ]) {
    assert.equal(openai.url(base), "http://host:11434/v1/embeddings");
  }
  assert.equal(openai.url("https://proxy/openai"), "https://proxy/openai/v1/embeddings");
  assert.equal(cohere.url("https://api.cohere.com"), "https://api.cohere.com/v2/embed");
});

test("whatever JSON a server answers, it is read or refused, and nothing throws", () => {
  const vector = fc.oneof(fc.jsonValue(), fc.base64String(), fc.array(fc.double(), { maxLength: 5 }));
  const entry = fc.record(
    { index: fc.oneof(fc.nat(5), fc.jsonValue()), embedding: vector },
    { requiredKeys: [] },
  );
  const answer = fc.oneof(
    fc.jsonValue(),
    fc.record({ data: fc.array(fc.oneof(entry, fc.jsonValue())) }),
    fc.record({ embeddings: fc.record({ float: fc.array(vector) }) }),
  );
  fc.assert(
    fc.property(answer, (given) => {
      const row = new Float32Array(3);
      for (const protocol of [openai, cohere]) {
        for (const each of protocol.vectors(given) ?? []) {
          if (readVector(each, row) === undefined) assert.ok(row.every(Number.isFinite));
        }
      }
      assert.equal(typeof complaintOf(JSON.stringify(given), ""), "string");
    }),
  );
});

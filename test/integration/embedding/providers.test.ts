import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadConfig } from "../../../platform/config.ts";
import { createProvider } from "../../../platform/embedding/create-provider.ts";
import type { EmbeddingProvider } from "../../../platform/embedding/provider.ts";
import type { Patience } from "../../../platform/embedding/remote-calls.ts";
import { EMBEDDING_SETTINGS, RemoteEmbedding } from "../../../platform/embedding/remote-embedding.ts";
import { ArrwError } from "../../../platform/errors.ts";
import { createLog } from "../../../platform/log.ts";
import { createRegistry, type Registry } from "../../../platform/metrics.ts";
import { EmbeddingServer, type Fault, TOO_LONG, vectorOf } from "../../support/embedding-server.ts";
import { type Cleanup, tempDir } from "../../support/temp.ts";

const KEY = "sk-very-secret-key-0123456789";
const DIMENSIONS = 8;
const PATIENCE: Patience = { timeoutMs: 2_000, unavailableMs: 3_000, rateLimitedMs: 20_000 };
const never = new AbortController().signal;

interface Rig {
  readonly server: EmbeddingServer;
  readonly provider: EmbeddingProvider;
  readonly registry: Registry;
  /** Another provider of the same process. */
  another(name: string, model?: string, anew?: boolean): EmbeddingProvider;
  /** What was logged. */
  readonly log: string[];
}

interface RigOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly patience?: Partial<Patience>;
  readonly name?: string;
}

async function rig(t: Cleanup, options: RigOptions = {}): Promise<Rig> {
  const server = await EmbeddingServer.start(t);
  const log: string[] = [];
  const registry = createRegistry("test");
  t.after(() => registry.clear());
  const env = {
    ARRW_OPENAI_BASE_URL: server.url,
    ARRW_OPENAI_API_KEY: KEY,
    ARRW_COHERE_BASE_URL: server.url,
    ARRW_COHERE_API_KEY: KEY,
    ...options.env,
  };
  const remote = new RemoteEmbedding({
    settings: loadConfig(EMBEDDING_SETTINGS, env),
    patience: { ...PATIENCE, ...options.patience },
    log: createLog("test", "trace", { write: (line) => void log.push(line) }),
    registry,
  });
  const another = (name: string, model = "small", anew = false): EmbeddingProvider =>
    createProvider({ provider: name, model, dimensions: DIMENSIONS }, { anew }, remote);
  return { server, provider: another(options.name ?? "openai"), another, registry, log };
}

function texts(count: number, word = "text"): string[] {
  return Array.from({ length: count }, (_, n) => `${word} ${n}`);
}

function assertRows(rows: Float32Array, expected: readonly string[]): void {
  assert.equal(rows.length, expected.length * DIMENSIONS);
  for (const [n, text] of expected.entries()) {
    const row = rows.subarray(n * DIMENSIONS, (n + 1) * DIMENSIONS);
    assert.deepEqual([...row], [...vectorOf(text, DIMENSIONS)], text);
  }
}

async function errorOf(run: Promise<unknown>): Promise<ArrwError> {
  const error = await run.then(
    () => assert.fail("nothing was thrown"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ArrwError, String(error));
  return error;
}

async function countOf(registry: Registry, name: string, labels: Record<string, string>): Promise<number> {
  const { values } = (await registry.getSingleMetric(name)?.get()) ?? { values: [] };
  const fits = values.find((each) =>
    Object.entries(labels).every(([key, value]) => each.labels[key] === value),
  );
  return fits?.value ?? 0;
}

test("openai: batches, base64, dimensions, the key; rows in the order of the texts", async (t) => {
  const { server, provider, registry } = await rig(t);
  const all = texts(250);
  assertRows(await provider.embed(all, never), all);
  assert.deepEqual(
    server.calls.map((call) => call.texts.length).sort((a, b) => a - b),
    [58, 96, 96],
  );
  for (const { path, authorization, body, model } of server.calls) {
    assert.deepEqual(
      [path, authorization, model, body.dimensions, body.encoding_format],
      ["/v1/embeddings", `Bearer ${KEY}`, "small", DIMENSIONS, "base64"],
    );
  }
  assert.equal(
    await countOf(registry, "arrw_embedding_calls_total", { provider: "openai", outcome: "ok" }),
    3,
  );
  assert.equal(await countOf(registry, "arrw_embedding_texts_total", { source: "provider" }), 250);
});

test("cohere: documents and queries are told apart", async (t) => {
  const { server, provider } = await rig(t, { name: "cohere" });
  assertRows(await provider.embed(["a"], never), ["search_document a"]);
  assertRows(await provider.embed(["a"], never, "query"), ["search_query a"]);
  const [first] = server.calls;
  assert.deepEqual(
    [first?.path, first?.authorization, first?.body.output_dimension, first?.body.truncate],
    ["/v2/embed", `Bearer ${KEY}`, DIMENSIONS, "NONE"],
  );
});

test("a text is asked for once: repeated within a call or soon after", async (t) => {
  const { server, provider, another, registry } = await rig(t);
  const all = ["a", "b", "a", "a"];
  assertRows(await provider.embed(all, never), all);
  assertRows(await provider.embed(["b", "c"], never), ["b", "c"]);
  // Another library with the same embedding.
  assertRows(await another("openai").embed(["c"], never), ["c"]);
  assert.deepEqual(server.chargedTwice, []);
  assert.equal(server.calls.length, 2);
  // Made anew, but not twice.
  const anew = another("openai", "small", true);
  await anew.embed(["c", "c"], never);
  await anew.embed(["c"], never);
  assert.equal(server.calls.length, 3);
  await another("openai", "large").embed(["c"], never);
  assert.deepEqual(server.chargedTwice, ["c"]);
  for (const [source, count] of [
    ["provider", 5],
    ["memory", 3],
    ["repeated", 3],
  ] as const) {
    assert.equal(await countOf(registry, "arrw_embedding_texts_total", { source }), count, source);
  }
});

test("servers that know neither base64 nor dimensions are asked without", async (t) => {
  const { server, provider } = await rig(t);
  server.plainNumbers = true;
  server.fault = ({ body }) => {
    const complain = (message: string) => ({
      status: 400,
      body: JSON.stringify({ object: "error", message }),
    });
    if ("dimensions" in body) return complain('Model "small" does not support matryoshka representation');
    return "encoding_format" in body ? complain("encoding_format: extra fields not permitted") : undefined;
  };
  const all = texts(300);
  assertRows(await provider.embed(all, never), all);
  const before = server.calls.length;
  await provider.embed(["more"], never);
  assert.equal(server.calls.length, before + 1);
  assert.deepEqual(server.chargedTwice, []);
});

test("a storm of 429 only slows: all wait as asked, each text is paid for once", async (t) => {
  const { server, provider, another, registry, log } = await rig(t, {
    env: { ARRW_EMBEDDING_BATCH_TEXTS: "10", ARRW_EMBEDDING_CONCURRENCY: "8" },
  });
  const refusedAtMs: number[] = [];
  const takenAtMs: number[] = [];
  server.fault = ({ number }) => {
    const nowMs = performance.now();
    if (number <= 3 || number % 3 === 0) {
      refusedAtMs.push(nowMs);
      return { status: 429, headers: { "retry-after": "0.2" } };
    }
    takenAtMs.push(nowMs);
    return undefined;
  };
  const halves = [texts(200), texts(200, "other")];
  const [first, second] = await Promise.all([
    provider.embed(halves[0] ?? [], never),
    another("openai").embed(halves[1] ?? [], never),
  ]);
  assertRows(first, halves[0] ?? []);
  assertRows(second, halves[1] ?? []);
  assert.deepEqual(server.chargedTwice, []);
  assert.ok(refusedAtMs.length >= 5);
  assert.ok(server.mostAtOnce <= 8);
  // After a refusal only calls that were under way already come within the time that was asked for.
  const [storm = 0] = refusedAtMs;
  const early = takenAtMs.filter((atMs) => atMs > storm && atMs < storm + 150);
  assert.ok(early.length <= 5, `${early.length} calls during the pause`);
  const limited = { provider: "openai", outcome: "rate_limited" };
  assert.equal(await countOf(registry, "arrw_embedding_calls_total", limited), refusedAtMs.length);
  assert.ok(log.some((line) => line.includes("asked to slow down")));
});

test("a pause that is longer than the patience ends the call, retryably, with the time to come back", async (t) => {
  const { server, provider } = await rig(t);
  server.fault = () => ({ status: 429, headers: { "retry-after": "120" } });
  const error = await errorOf(provider.embed(texts(200), never));
  assert.deepEqual([error.code, error.reason], ["RESOURCE_EXHAUSTED", "EMBEDDING_RATE_LIMITED"]);
  const { retryAfterMs = 0 } = error;
  assert.ok(retryAfterMs >= 119_000 && retryAfterMs <= 133_000, `${retryAfterMs}`);
  // Others don't even ask while the pause lasts.
  const before = server.calls.length;
  await errorOf(provider.embed(["other"], never));
  assert.equal(server.calls.length, before);
});

test("passing faults are outlasted", async (t) => {
  const faults: Fault[] = [
    { status: 500 },
    { status: 503, headers: { "retry-after": "0.1" } },
    "reset",
    "cut",
  ];
  const { server, provider } = await rig(t);
  server.fault = ({ number }) => faults[number - 1];
  const all = texts(5);
  assertRows(await provider.embed(all, never), all);
  assert.equal(server.calls.length, 5);
});

test("a provider that stays away is UNAVAILABLE, and why is said", async (t) => {
  const cases: [Fault | "closed", RegExp][] = [
    [{ status: 502, body: "<html>Bad Gateway</html>" }, /HTTP 502/],
    ["reset", /ECONNRESET|other side closed|socket/i],
    ["hang", /no answer within 200 ms/],
    ["drip", /no answer within 200 ms/],
    ["cut", /terminated|other side closed|not whole/],
    [{ answer: (text) => text.slice(0, 20) }, /not whole/],
    ["closed", /ECONNREFUSED/],
  ];
  for (const [fault, why] of cases) {
    const { server, provider } = await rig(t, { patience: { timeoutMs: 200, unavailableMs: 300 } });
    if (fault === "closed") await server.close();
    else server.fault = () => fault;
    const error = await errorOf(provider.embed(["a"], never));
    assert.deepEqual([error.code, error.reason], ["UNAVAILABLE", "EMBEDDING_UNAVAILABLE"]);
    assert.match(error.message, why);
    assert.match(error.message, /^openai does not answer/);
  }
});

test("what was paid for before a failure is not paid for again", async (t) => {
  const { server, provider } = await rig(t, {
    env: { ARRW_EMBEDDING_BATCH_TEXTS: "10", ARRW_EMBEDDING_CONCURRENCY: "1" },
    patience: { unavailableMs: 0 },
  });
  server.fault = ({ number }) => (number === 3 ? { status: 500 } : undefined);
  const all = texts(60);
  assert.equal((await errorOf(provider.embed(all, never))).code, "UNAVAILABLE");
  assert.ok(server.calls.length < 6, "no further calls are begun");
  assertRows(await provider.embed(all, never), all);
  assert.deepEqual(server.chargedTwice, []);
});

test("an answer that can't be used is not asked for again", async (t) => {
  const edited = (edit: (answer: { data: { embedding: unknown }[] }) => void): Fault => ({
    answer: (text) => {
      const answer = JSON.parse(text);
      edit(answer);
      return JSON.stringify(answer);
    },
  });
  const nan = Buffer.from(new Float32Array(DIMENSIONS).fill(Number.NaN).buffer).toString("base64");
  const first = (embedding: unknown) =>
    edited(({ data }) => {
      if (data[0]) data[0].embedding = embedding;
    });
  const cases: [Fault, RegExp][] = [
    [{ dimensions: 5 }, /vectors have 5 dimensions, the library's 8/],
    [{ dimensions: 3_000 }, /vectors have 3000 dimensions/],
    [first(nan), /not finite/],
    [{ answer: (text) => text.replace(/"embedding":"[^"]*"/, '"embedding":[NaN]') }, /not finite/],
    [first(null), /neither numbers nor base64/],
    [edited(({ data }) => data.pop()), /gave 2 vectors for 3 texts|no vectors/],
    [{ answer: () => "{}" }, /no vectors where they should be/],
    [{ answer: () => `"${"x".repeat(4 * 1024 * 1024)}"` }, /more than \d+ bytes/],
  ];
  for (const [fault, why] of cases) {
    const { server, provider } = await rig(t);
    server.fault = () => fault;
    const error = await errorOf(provider.embed(texts(3), never));
    assert.deepEqual([error.code, error.reason], ["FAILED_PRECONDITION", "EMBEDDING_INVALID"], String(why));
    assert.match(error.message, why);
    assert.equal(server.calls.length, 1);
  }
});

test("too long a text is found and named; the others are embedded once", async (t) => {
  for (const name of ["openai", "cohere"]) {
    const { server, provider } = await rig(t, { name });
    const all = texts(200);
    all[17] = `${TOO_LONG} a`;
    all[150] = `${TOO_LONG} b`;
    all[151] = all[17];
    const { rows, refused } = await provider.embedEach(all, never);
    assert.deepEqual([...refused.keys()], [17, 150, 151]);
    assert.match(
      refused.get(17) ?? "",
      RegExp(`^${name} refused it: HTTP 400: .*(context length|too many tokens)`),
    );
    const sent = (text: string) => (name === "cohere" ? `search_document ${text}` : text);
    assertRows(rows.subarray(0, 17 * DIMENSIONS), all.slice(0, 17).map(sent));
    assertRows(rows.subarray(152 * DIMENSIONS), all.slice(152).map(sent));
    assert.deepEqual(server.chargedTwice, []);
    const error = await errorOf(provider.embed(all, never));
    assert.deepEqual([error.code, error.reason], ["INVALID_ARGUMENT", "EMBEDDING_INPUT_REFUSED"]);
    assert.equal(error.metadata.text, "17");
    assert.match(error.message, /^text 17 can't be embedded/);
  }
});

test("a server that takes few texts at a time is found out once", async (t) => {
  const { server, provider } = await rig(t);
  const few = JSON.stringify({
    error: "batch size 96 > maximum allowed batch size 32",
    error_type: "Validation",
  });
  server.fault = (call) => (call.texts.length > 32 ? { status: 422, body: few } : undefined);
  const all = texts(192);
  assertRows(await provider.embed(all, never), all);
  const before = server.calls.length;
  assertRows(await provider.embed(texts(72, "more"), never), texts(72, "more"));
  assert.equal(server.calls.length, before + 3);
  assert.deepEqual(server.chargedTwice, []);
});

test("a refusal of every text is one error, not one a text", async (t) => {
  const { server, provider } = await rig(t);
  server.fault = () => ({ status: 400, body: JSON.stringify({ message: "model small embeds images only" }) });
  const error = await errorOf(provider.embedEach(texts(90), never));
  assert.deepEqual([error.code, error.reason], ["FAILED_PRECONDITION", "EMBEDDING_REFUSED"]);
  assert.match(error.message, /refuses every text: HTTP 400: model small embeds images only/);
  assert.equal(server.calls.length, 2);
});

test("a server that finds every text too long is not set up right", async (t) => {
  const { server, provider } = await rig(t);
  const body = JSON.stringify({ error: { message: "maximum context length is 0 tokens" } });
  server.fault = () => ({ status: 400, body });
  const error = await errorOf(provider.embedEach(texts(3), never));
  assert.deepEqual([error.code, error.reason], ["FAILED_PRECONDITION", "EMBEDDING_REFUSED"]);
  assert.equal(error.message, "openai refuses every text: HTTP 400: maximum context length is 0 tokens");
});

test("an error for good ends the waits of the other calls", async (t) => {
  const { server, provider } = await rig(t, { env: { ARRW_EMBEDDING_BATCH_TEXTS: "1" } });
  let answered: () => void = () => undefined;
  const refused = new Promise<void>((resolve) => {
    answered = resolve;
  });
  server.fault = ({ texts: [text] }) => {
    if (text === "text 0") return { status: 401 };
    answered();
    return { status: 429, headers: { "retry-after": "15" } };
  };
  server.pace = async ({ texts: [text] }) => {
    if (text === "text 0") await refused;
  };
  const beganMs = performance.now();
  assert.equal((await errorOf(provider.embed(texts(10), never))).reason, "EMBEDDING_UNAUTHORIZED");
  assert.ok(performance.now() - beganMs < 5_000);
});

test("a complaint of another kind about one text refuses that one", async (t) => {
  const { server, provider } = await rig(t);
  server.fault = (call) => (call.texts.includes("text 3") ? { status: 422, body: "not this" } : undefined);
  const { refused } = await provider.embedEach(texts(8), never);
  assert.deepEqual([...refused.keys()], [3]);
});

test("refused keys, models and quotas are not retried and say where to look", async (t) => {
  const quota = JSON.stringify({
    error: { message: "You exceeded your current quota", code: "insufficient_quota" },
  });
  const leak = JSON.stringify({ error: { message: `Incorrect API key provided: ${KEY}.` } });
  const cases: [Fault, string, RegExp][] = [
    [{ status: 401, body: leak }, "EMBEDDING_UNAUTHORIZED", /check ARRW_OPENAI_API_KEY$/],
    [{ status: 403, body: leak }, "EMBEDDING_UNAUTHORIZED", /HTTP 403.*check ARRW_OPENAI_API_KEY$/],
    [{ status: 404, body: leak }, "EMBEDDING_MODEL_NOT_FOUND", /model "small".*ARRW_OPENAI_BASE_URL/],
    [{ status: 429, body: quota }, "EMBEDDING_QUOTA_EXCEEDED", /no quota left/],
    [{ status: 307, headers: { location: "http://127.0.0.1:1/" } }, "EMBEDDING_REFUSED", /HTTP 307/],
    [{ status: 418, body: leak }, "EMBEDDING_REFUSED", /HTTP 418/],
  ];
  for (const [fault, reason, message] of cases) {
    const { server, provider, log } = await rig(t);
    server.fault = () => fault;
    const error = await errorOf(provider.embed(["a"], never));
    assert.deepEqual([error.code, error.reason], ["FAILED_PRECONDITION", reason]);
    assert.match(error.message, message);
    assert.equal(server.calls.length, 1);
    assert.ok(!`${error.message} ${error.stack} ${JSON.stringify(error)} ${log.join()}`.includes(KEY));
  }
  const { server, provider } = await rig(t, { env: { ARRW_OPENAI_API_KEY: "" } });
  server.fault = () => ({ status: 401 });
  assert.match(
    (await errorOf(provider.embed(["a"], never))).message,
    /no key is set: set ARRW_OPENAI_API_KEY or/,
  );
  assert.equal(server.calls[0]?.authorization, undefined);
});

test("a key in a file that was replaced is read again", async (t) => {
  const file = join(await tempDir(t), "key");
  writeFileSync(file, "old-key\n");
  const { server, provider } = await rig(t, { env: { ARRW_OPENAI_API_KEY_FILE: file } });
  server.fault = ({ authorization }) => (authorization === "Bearer new-key" ? undefined : { status: 401 });
  const error = await errorOf(provider.embed(["a"], never));
  assert.match(error.message, /file that ARRW_OPENAI_API_KEY_FILE names/);
  writeFileSync(file, "new-key\n");
  await provider.embed(texts(300), never);
  assert.deepEqual(server.chargedTwice, []);
});

test("an abort ends a call under way, one that waits its turn and one that waits for the provider", async (t) => {
  for (const fault of ["hang", { status: 503 }, { status: 429, headers: { "retry-after": "10" } }] as const) {
    const { server, provider } = await rig(t, {
      env: { ARRW_EMBEDDING_CONCURRENCY: "1", ARRW_EMBEDDING_BATCH_TEXTS: "1" },
      patience: { unavailableMs: 60_000, timeoutMs: 60_000 },
    });
    server.fault = () => fault;
    const abort = new AbortController();
    const reason = new Error("stopped");
    const embedding = provider.embed(texts(3), abort.signal);
    setTimeout(() => abort.abort(reason), 100);
    const beganMs = performance.now();
    await assert.rejects(embedding, reason);
    assert.ok(performance.now() - beganMs < 1_000);
  }
});

import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { validate } from "@scalar/openapi-parser";
import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { formatApiKeyFile, hashApiKey, newApiKey } from "../../../platform/api-keys.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import { tempDir } from "../../support/temp.ts";

/** What is HTTP's own: bodies, paths, methods, limits. One gateway for all. */

const runs: (() => Promise<void> | void)[] = [];
let gateway: TestGateway;

before(async () => {
  gateway = await startTestGateway({ after: (run) => void runs.push(run) });
});
after(async () => {
  for (const run of runs.reverse()) await run();
});

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it
  readonly json: any;
}

async function send(
  method: string,
  path: string,
  body?: string | Uint8Array,
  headers: Record<string, string> = { "content-type": "application/json" },
): Promise<Answer> {
  const response = await fetch(`${gateway.probes}${path}`, {
    method,
    headers,
    signal: AbortSignal.timeout(10_000),
    ...(body === undefined ? {} : { body: body as string }),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    json: text === "" ? undefined : JSON.parse(text),
  };
}

/** The error's status, code and reason; every error has the same shape. */
async function refusal(...call: Parameters<typeof send>): Promise<readonly [number, string, string]> {
  const { status, json } = await send(...call);
  assert.deepEqual(Object.keys(json), ["error"]);
  const { code, message, fields, reason } = json.error;
  assert.equal(typeof message, "string");
  assert.ok(Array.isArray(fields));
  assert.doesNotMatch(message, /node_modules|\.ts:|at async/);
  return [status, code, reason];
}

const ECHO = "/v1/jobs/echo";

test("a job is submitted, found at its Location, and shown in full", async () => {
  const { status, headers, json } = await send(
    "POST",
    ECHO,
    '{"message":"hi","labels":{"a":"b"},"max_retries":0}',
  );
  assert.equal(status, 202);
  assert.deepEqual(json, { job_id: json.job_id, status: "pending", message: "Echo job submitted" });
  const location = headers.get("location") ?? "";
  assert.equal(location, `/v1/jobs/${json.job_id}`);
  const job = await send("GET", location, undefined, {});
  assert.equal(job.headers.get("content-type"), "application/json; charset=utf-8");
  assert.equal(job.headers.get("cache-control"), "no-store");
  const {
    job_type,
    status: word,
    state,
    library_id,
    result,
    error,
    error_details,
    retries,
    max_retries,
  } = job.json;
  assert.deepEqual(
    {
      job_type,
      word,
      state,
      library_id,
      result,
      error,
      error_details,
      retries,
      max_retries,
    },
    {
      job_type: "echo",
      word: "pending",
      state: "pending",
      library_id: null,
      result: null,
      error: null,
      error_details: null,
      retries: 0,
      max_retries: 0,
    },
  );
  assert.deepEqual(job.json.progress, { current: 0, total: 0, message: "", percentage: 0 });
  assert.equal(job.json.started_at, null);
});

test("bodies that are no JSON object of the request are refused with all that is wrong", async () => {
  const malformed = [400, "INVALID_ARGUMENT", "MALFORMED_JSON"];
  const bodies = {
    broken: '{"message":',
    "an array": "[]",
    "a number": "1",
    NaN: '{"steps":NaN}',
    "a key twice": '{"message":"a","message":"b"}',
    "a key twice, once escaped": '{"message":"a","\\u006dessage":"b"}',
    "a key twice, deep": '{"labels":{"a":"1","a":"2"}}',
    __proto__: '{"__proto__":{"message":"x"}}',
    "__proto__, escaped": '{"labels":{"\\u005f_proto__":"x"}}',
    "too deep": `{"message":${"[".repeat(100)}${"]".repeat(100)}}`,
    "white space": "  ",
  };
  for (const [what, body] of Object.entries(bodies))
    assert.deepEqual(await refusal("POST", ECHO, body), malformed, what);
  const latin1 = Uint8Array.of(0x7b, 0x22, 0xe9, 0x22, 0x3a, 0x31, 0x7d);
  assert.deepEqual(await refusal("POST", ECHO, latin1), malformed);
  const open = await refusal("POST", ECHO, "[".repeat(2_000_000));
  assert.deepEqual(open, malformed);
  const { json } = await send(
    "POST",
    ECHO,
    '{"message":1,"steps":1e99,"failTimes":1,"sleep":"5","run_at":"tomorrow","nothing":{},"retry_policy":[],"labels":{"a":1}}',
  );
  assert.deepEqual(
    json.error.fields
      .map(({ field, description }: Record<string, string>) => `${field}: ${description}`)
      .sort(),
    [
      "failTimes: unknown field; it is written fail_times",
      'labels["a"]: a string; got 1',
      "message: a string; got 1",
      "nothing: unknown field",
      "retry_policy: an object; got an array",
      'run_at: a time as in RFC 3339, like "2025-01-31T12:00:00Z"; got "tomorrow"',
      'sleep: a duration in seconds, like "1.5s"; got "5"',
      "steps: an integer -2147483648..2147483647; got 1e+99",
    ],
  );
  assert.deepEqual(await refusal("POST", ECHO, '{"message":"\\ud800"}'), [
    400,
    "INVALID_ARGUMENT",
    "INVALID_ARGUMENT",
  ]);
});

test("of many jobs each is refused for the reason that it would be refused for alone", async () => {
  const job = { library_id: "nowhere", documents: [{ texts: ["x"] }] };
  const alone = await send("POST", "/v1/jobs/batch-import", JSON.stringify(job));
  const many = await send(
    "POST",
    "/v1/jobs",
    JSON.stringify({ jobs: [{ job_type: "batch_import", ...job }] }),
  );
  assert.equal(alone.json.error.reason, "LIBRARY_NOT_FOUND");
  assert.equal(many.json.results[0].error.reason, "LIBRARY_NOT_FOUND");
});

test("bodies are JSON alone, compressed or not, of bounded size", async () => {
  const unsupported = [415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE"];
  for (const type of ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"])
    assert.deepEqual(await refusal("POST", ECHO, "message=x", { "content-type": type }), unsupported, type);
  const json = { "content-type": "application/json; charset=utf-8" };
  assert.equal((await send("POST", ECHO, "{}", json)).status, 202);
  const gzip = { ...json, "content-encoding": "gzip" };
  assert.equal((await send("POST", ECHO, gzipSync('{"message":"small"}'), gzip)).status, 202);
  assert.deepEqual(await refusal("POST", ECHO, "no gzip", gzip), [
    400,
    "INVALID_ARGUMENT",
    "INVALID_ARGUMENT",
  ]);
  const other = { ...json, "content-encoding": "br" };
  assert.deepEqual(await refusal("POST", ECHO, "x", other), [
    415,
    "INVALID_ARGUMENT",
    "UNSUPPORTED_ENCODING",
  ]);
  const large = `{"message":"${"x".repeat(9_000_000)}"}`;
  const tooLarge = [413, "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE"];
  assert.deepEqual(await refusal("POST", ECHO, large), tooLarge);
  assert.deepEqual(await refusal("POST", ECHO, gzipSync(large), gzip), tooLarge);
  assert.equal((await send("POST", ECHO, undefined, {})).status, 202);
  assert.equal((await send("POST", ECHO, "")).status, 202);
});

test("unknown paths, wrong methods, slashes at the end, HEAD and OPTIONS", async () => {
  assert.deepEqual(await refusal("GET", "/v1/nothing"), [404, "NOT_FOUND", "PATH_NOT_FOUND"]);
  assert.deepEqual(await refusal("GET", "/v1/libraries/a/documents/%zz"), [
    400,
    "INVALID_ARGUMENT",
    "INVALID_ARGUMENT",
  ]);
  const wrong = await send("PUT", "/v1/jobs/x/retry", "{}");
  assert.equal(wrong.status, 405);
  assert.equal(wrong.headers.get("cache-control"), "no-store");
  assert.equal(wrong.headers.get("allow"), "POST");
  assert.equal(wrong.json.error.reason, "METHOD_NOT_ALLOWED");
  assert.equal((await send("GET", "/v1/jobs/")).status, 200);
  const head = await send("HEAD", "/v1/jobs");
  assert.equal(head.status, 200);
  assert.equal(head.json, undefined);
  const options = await send("OPTIONS", "/v1/jobs", undefined, {});
  assert.equal(options.status, 204);
  assert.equal(options.headers.get("allow"), "GET, HEAD, POST");
});

test("query strings: empty values are none, lists by commas or repeated, what is unknown is refused", async () => {
  const all = await send("GET", "/v1/jobs?status=&type=&library_id=&limit=");
  assert.equal(all.status, 200);
  assert.ok(all.json.jobs.length > 0);
  const pending = await send("GET", "/v1/jobs?status=pending&status=running,failed&label=a:b&limit=1");
  assert.equal(pending.status, 200);
  const { json } = await send("GET", "/v1/jobs?stauts=pending&limit=x&limit=1&label=none");
  assert.deepEqual(
    json.error.fields.map(({ field }: { field: string }) => field),
    ["stauts", "limit", "label"],
  );
  const purge = await send("DELETE", "/v1/jobs/x?purge=maybe");
  assert.deepEqual(purge.json.error.fields, [{ field: "purge", description: 'true or false; got "maybe"' }]);
  const watch = await send("GET", "/v1/events?stauts=failed&access_token=x&after_cursor=y");
  assert.equal(watch.status, 400);
  assert.deepEqual(
    watch.json.error.fields.map(({ field }: { field: string }) => field),
    ["stauts"],
  );
  const unread = await send("DELETE", "/v1/jobs/x", '{"purge":true}');
  assert.equal(unread.status, 400);
  assert.equal(unread.json.error.fields[0].field, "purge");
  assert.equal((await send("DELETE", "/v1/jobs/x", "{}")).status, 404);
});

test("Request-Timeout-Ms is the deadline, and is checked", async () => {
  const timeout = (text: string) => send("GET", "/v1/jobs/x", undefined, { "request-timeout-ms": text });
  assert.equal((await timeout("1000")).status, 404);
  for (const text of ["0", "-1", "x", "600001", "1.5"]) {
    const { status, json } = await timeout(text);
    assert.equal(status, 400);
    assert.equal(json.error.fields[0].field, "Request-Timeout-Ms");
  }
});

test("what is no HTTP, and headers without end, are answered and closed", async () => {
  const { host, port } = { host: "127.0.0.1", port: Number(new URL(gateway.probes).port) };
  const answerTo = async (text: string): Promise<string> => {
    const socket = connect(port, host);
    let answer = "";
    socket.on("data", (data) => {
      answer += data;
    });
    socket.on("error", () => undefined);
    socket.write(text);
    await once(socket, "close");
    return answer;
  };
  assert.match(await answerTo("hello\r\n\r\n"), /^HTTP\/1\.1 400 Bad Request\r\n.*"INVALID_ARGUMENT"/s);
  const long = `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${"x".repeat(20_000)}\r\n\r\n`;
  assert.match(await answerTo(long), /^HTTP\/1\.1 431 .*"HEADERS_TOO_LARGE"/s);
});

test("a page and a description of the API, which load nothing from elsewhere", async () => {
  const page = await fetch(`${gateway.probes}/docs`);
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'self'/);
  assert.doesNotMatch(await page.text(), /https?:\/\//);
  const script = await fetch(`${gateway.probes}/docs/js/scalar.js`);
  assert.equal(script.status, 200);
  await script.body?.cancel();
  const { json } = await send("GET", "/openapi.json");
  const { valid, errors } = await validate(json);
  assert.ok(valid, JSON.stringify(errors));
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: "openapi", components: json.components });
  for (const name of Object.keys(json.components.schemas)) {
    assert.equal(typeof ajv.compile({ $ref: `openapi#/components/schemas/${name}` }), "function");
  }
});

test("requests are counted by route, method and status", async () => {
  await send("GET", "/v1/jobs/some-job");
  await send("GET", "/v1/nothing-of-that-name");
  const metrics = await (await fetch(`${gateway.probes}/metrics`)).text();
  const counts = metrics.split("\n").filter((line) => line.startsWith("arrw_http_server_seconds_count"));
  for (const route of ["/v1/jobs/:job_id", "unknown"]) {
    const labels = [`route="${route}"`, 'method="GET"', 'status="404"'];
    assert.ok(
      counts.some((line) => labels.every((label) => line.includes(label))),
      counts.join("\n"),
    );
  }
  assert.doesNotMatch(metrics, /some-job|nothing-of-that-name/);
});

test("with API keys: 401 says how to authenticate, metrics are for who sees all libraries, probes are open", async (t) => {
  const keys = { all: newApiKey(), some: newApiKey() };
  const entry = (name: keyof typeof keys) => ({
    name,
    role: "viewer" as const,
    sha256: [hashApiKey(keys[name]).toString("hex")],
  });
  const file = join(await tempDir(t), "keys.json");
  const text = formatApiKeyFile({ keys: [entry("all"), { ...entry("some"), libraries: ["docs"] }] });
  await writeFile(file, text, { mode: 0o600 });
  const { probes } = await startTestGateway(t, [], { ARRW_API_KEYS_FILE: file });
  const get = (path: string, key?: string) =>
    fetch(`${probes}${path}`, key === undefined ? {} : { headers: { authorization: `Bearer ${key}` } });
  for (const path of ["/v1/jobs", "/metrics"]) {
    const { status, headers } = await get(path);
    assert.equal(status, 401, path);
    assert.match(headers.get("www-authenticate") ?? "", /^Bearer/);
    assert.equal((await get(path, keys.all)).status, 200, path);
  }
  assert.equal((await get("/metrics", keys.some)).status, 403);
  for (const path of ["/healthz", "/readyz", "/openapi.json"])
    assert.equal((await get(path)).status, 200, path);
});

test("whatever is sent, the answer is JSON below 500", { timeout: 60_000 }, async () => {
  const paths = fc.constantFrom(
    ...[
      "batch-import",
      "batch-delete",
      "batch-export",
      "index-rebuild",
      "regenerate-embeddings",
      "echo",
      "cancel",
      "retry",
    ].map((name) => `/v1/jobs/${name}`),
    "/v1/jobs",
    "/v1/libraries",
    "/v1/libraries/x/search",
    "/v1/libraries/x/documents/list",
    "/v1/queues/echo/pause",
  );
  const names = fc.constantFrom(
    "documents",
    "texts",
    "filter",
    "all",
    "labels",
    "spec",
    "jobs",
    "job_type",
    "message",
    "vector",
    "k",
    "metadata",
    "equals",
    "in",
    "range",
    "run_at",
    "sleep",
    "constructor",
    "toString",
  );
  const values = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.jsonValue({ maxDepth: 1 }),
      fc.constantFrom("echo", "batch_import", 1e308, -1, 2 ** 53, "1s"),
      tie("list"),
      tie("object"),
    ),
    list: fc.array(tie("value"), { maxLength: 3 }),
    object: fc.dictionary(fc.oneof(names, fc.string({ maxLength: 8 })), tie("value"), { maxKeys: 5 }),
  }));
  const bodies = fc.oneof(
    values.object.map((value) => JSON.stringify(value)),
    fc.string(),
    fc.uint8Array({ maxLength: 50 }),
  );
  await fc.assert(
    fc.asyncProperty(paths, bodies, async (path, body) => {
      const { status, json } = await send("POST", path, body);
      assert.ok(status < 500 || json.error.code === "UNAVAILABLE", `${status} ${JSON.stringify(json)}`);
    }),
    { numRuns: 400 },
  );
  const anyPath = fc
    .string({ maxLength: 30, unit: "grapheme" })
    .map((text) => `/v1/${encodeURI(text.replace(/\p{Surrogate}/gu, ""))}`);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("GET", "DELETE", "PUT"),
      anyPath,
      fc.webQueryParameters(),
      async (method, path, query) => {
        const response = await fetch(`${gateway.probes}${path}?${query}`, { method });
        await response.body?.cancel();
        assert.ok(response.status < 500);
      },
    ),
    { numRuns: 200 },
  );
});

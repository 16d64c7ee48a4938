import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type DescField,
  type DescMessage,
  equals,
  fromBinary,
  fromJson,
  type JsonValue,
  ScalarType,
} from "@bufbuild/protobuf";
import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { ArrwError } from "../../../platform/errors.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { JsonCodec } from "../../../services/gateway/http/codec.ts";
import { madeOnce } from "../../../services/gateway/http/docs-page.ts";
import { errorHeaders } from "../../../services/gateway/http/errors.ts";
import { jobFilterOf } from "../../../services/gateway/http/job-json.ts";
import { plainTypeOf, wholeBounds } from "../../../services/gateway/http/json-shape.ts";
import { parseJsonObject } from "../../../services/gateway/http/json-text.ts";
import { openApi } from "../../../services/gateway/http/openapi.ts";
import { Parameters } from "../../../services/gateway/http/parameters.ts";
import { unaryRoutes } from "../../../services/gateway/http/routes.ts";

const codec = new JsonCodec();
const text = fc.string({ maxLength: 5, unit: "grapheme" }).filter((each) => !/\p{Surrogate}/u.test(each));
const plainValue = fc
  .jsonValue({ maxDepth: 2 })
  .filter((value) => !/__proto__|\\ud/i.test(JSON.stringify(value)));

/** JSON of any message, as clients may write it. */
function jsonOf(type: DescMessage, levels = 3): fc.Arbitrary<Record<string, unknown>> {
  const fields = type.fields.filter(
    ({ message }) => !message || plainTypeOf(message) !== undefined || levels > 0,
  );
  const record = Object.fromEntries(fields.map((field) => [field.name, fieldOf(field, levels - 1)]));
  const oneofs = type.oneofs.filter(({ fields: [first] }) => first?.proto.proto3Optional !== true);
  return fc.record(record, { requiredKeys: [] }).map((json) => {
    for (const { fields: members } of oneofs) {
      for (const { name } of members.filter((member) => member.name in json).slice(1)) delete json[name];
    }
    // Without -0, which JSON writes as 0.
    return JSON.parse(JSON.stringify(json));
  });
}

function fieldOf(field: DescField, levels: number): fc.Arbitrary<unknown> {
  const value = anyValue(field, levels);
  if (field.fieldKind === "list") return fc.array(value, { maxLength: 2 });
  if (field.fieldKind === "map") return fc.dictionary(text, value, { maxKeys: 2 });
  return value;
}

function anyValue(field: DescField, levels: number): fc.Arbitrary<unknown> {
  if (field.enum) return fc.constantFrom("pending", "blocked", "completed");
  if (field.message) {
    switch (plainTypeOf(field.message)) {
      case "time":
        return fc
          .date({ min: new Date(0), max: new Date("9999-01-01"), noInvalidDate: true })
          .map((date) => date.toISOString());
      case "duration":
        return fc.integer({ min: -1_000_000, max: 1_000_000 }).map((ms) => `${ms / 1000}s`);
      case "object":
        return fc.dictionary(text, plainValue, { maxKeys: 3 });
      case "list":
        return fc.array(plainValue, { maxLength: 3 });
      case "value":
        return plainValue;
      case "vector":
        return fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 3 });
      default:
        return jsonOf(field.message, levels);
    }
  }
  switch (field.scalar) {
    case ScalarType.STRING:
      return text;
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.DOUBLE:
      return fc.double({ noNaN: true, noDefaultInfinity: true });
    case ScalarType.BYTES:
      return fc.uint8Array({ maxLength: 4 }).map((bytes) => Buffer.from(bytes).toString("base64"));
    default: {
      const [min, max] = wholeBounds(field.scalar ?? ScalarType.INT32);
      return fc.integer({ min, max });
    }
  }
}

/** The same JSON as the standard mapping of protobuf has it. */
function standard(type: DescMessage, json: Record<string, unknown>): JsonValue {
  const entries = Object.entries(json).map(([name, value]) => {
    const field = type.fields.find((each) => each.name === name);
    if (!field) throw new Error(name);
    const one = (each: unknown): unknown => {
      if (field.enum) return `JOB_STATUS_${String(each).toUpperCase()}`;
      if (!field.message) return each;
      const plain = plainTypeOf(field.message);
      if (plain === "vector") {
        return { packed: Buffer.from(Float32Array.from(each as number[]).buffer).toString("base64") };
      }
      return plain ? each : standard(field.message, each as Record<string, unknown>);
    };
    return [
      name,
      field.fieldKind === "list"
        ? (value as unknown[]).map(one)
        : field.fieldKind === "map"
          ? value
          : one(value),
    ];
  });
  return Object.fromEntries(entries) as JsonValue;
}

const MESSAGES = [
  "SubmitJobRequest",
  "ListDocumentsRequest",
  "SearchRequest",
  "CreateLibraryRequest",
  "CancelJobsRequest",
  "Document",
];

test("JSON is read as protobuf's own mapping reads it, but for vectors and enums", () => {
  for (const name of MESSAGES) {
    const type = codec.messageType(`arrwdb.v1.${name}`);
    fc.assert(
      fc.property(jsonOf(type), (json) => {
        const read = fromBinary(type, codec.encode(type, parseJsonObject(Buffer.from(JSON.stringify(json)))));
        assert.ok(equals(type, read, fromJson(type, standard(type, json))), JSON.stringify(json));
      }),
      { numRuns: 20 },
    );
  }
});

test("what is written is read again as the same message", () => {
  for (const name of MESSAGES) {
    const type = codec.messageType(`arrwdb.v1.${name}`);
    fc.assert(
      fc.property(jsonOf(type), (json) => {
        const bytes = codec.encode(type, json);
        const again = codec.encode(type, codec.decode(type, bytes));
        assert.ok(equals(type, fromBinary(type, again), fromBinary(type, bytes)), JSON.stringify(json));
      }),
      { numRuns: 20 },
    );
  }
});

test("whatever is read, there is a message or what is wrong with it", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...MESSAGES),
      fc.dictionary(fc.constantFrom("filter", "labels", "spec", "vectors", "k", "all", "x"), fc.jsonValue()),
      (name, json) => {
        try {
          codec.encode(`arrwdb.v1.${name}`, json);
        } catch (error) {
          assert.ok(error instanceof ArrwError && error.violations.length > 0);
        }
      },
    ),
  );
});

test("numbers are numbers, times RFC 3339, durations short, floats as short as they are", () => {
  const job = Job.fromPartial({
    jobId: "j",
    revision: 2n ** 53n - 1n,
    createdAt: new Date("2025-01-31T12:00:00.5Z"),
    executionTimeout: { seconds: 1n, nanos: 500_000_000 },
    totalTimeout: { seconds: 30n, nanos: 0 },
  });
  const { revision, created_at, execution_timeout, total_timeout, started_at, progress } = codec.decode(
    "arrwdb.v1.Job",
    Job.encode(job).finish(),
  );
  assert.deepEqual(
    { revision, created_at, execution_timeout, total_timeout, started_at, progress },
    {
      revision: 9007199254740991,
      created_at: "2025-01-31T12:00:00.500Z",
      execution_timeout: "1.5s",
      total_timeout: "30s",
      started_at: null,
      progress: null,
    },
  );
  const packed = Buffer.from(Float32Array.of(0.1, -2, 1e-7, 16_777_217).buffer);
  const document = Document.fromPartial({ vectors: [{ packed }, { values: [0.1] }] });
  assert.deepEqual(codec.decode("arrwdb.v1.Document", Document.encode(document).finish()).vectors, [
    [0.1, -2, 1e-7, 16_777_216],
    [0.1],
  ]);
});

test("violations are bounded, however much is wrong", () => {
  const json = { texts: Array(200_000).fill(1) };
  assert.throws(
    () => codec.encode("arrwdb.v1.Document", json),
    (error: ArrwError) => error.violations.length === 100 && error.violations[99]?.field === "texts[99]",
  );
});

test("keys are compared as what they stand for", () => {
  const parse = (json: string) => parseJsonObject(Buffer.from(json));
  assert.deepEqual(parse('{"a":{"a":"\\\\\\"a\\":"},"b":[{"a":1},{"a":2}]}'), {
    a: { a: '\\"a":' },
    b: [{ a: 1 }, { a: 2 }],
  });
  for (const json of ['{"a":1,"\\u0061":2}', '{"b":{"x":1, "x" :2}}', '{"a":1,"__proto__":2}'])
    assert.throws(() => parse(json), { reason: "MALFORMED_JSON" });
  const parts = `[${"{},".repeat(2_000_000)}{}]`;
  assert.throws(() => parse(`{"a":${parts}}`), /more than 2,000,000/);
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'{}[]",:\\ua1 ') }), (any) => {
      try {
        parse(any);
      } catch (error) {
        assert.ok(error instanceof ArrwError && error.reason === "MALFORMED_JSON");
      }
    }),
  );
  const object = fc.jsonValue().filter((value) => !JSON.stringify(value).includes("__proto__"));
  fc.assert(
    fc.property(object, (a) =>
      assert.deepEqual(parse(JSON.stringify({ a })), JSON.parse(JSON.stringify({ a }))),
    ),
  );
});

test("a filter of jobs out of a query string", () => {
  const query = {
    status: "pending,failed",
    state: "running",
    label: ["a:b:c", "d:"],
    created_after: "2025-01-01T00:00:00Z",
    after_cursor: "x",
  };
  const filter = jobFilterOf(codec, query, ["after_cursor"]);
  assert.deepEqual(filter?.statuses, [1, 6, 2, 3, 4]);
  assert.deepEqual(filter?.labels, { a: "b:c", d: "" });
  assert.equal(filter?.createdAfter?.toISOString(), "2025-01-01T00:00:00.000Z");
  assert.equal(jobFilterOf(codec, { status: "" }), undefined);
  assert.throws(
    () => jobFilterOf(codec, { status: "done" }),
    (error: ArrwError) => error.violations[0]?.field === "status",
  );
});

test("a query string is refused with all that is wrong in it and in the rest of the request", () => {
  const fieldsOf = (read: () => unknown): readonly string[] => {
    try {
      read();
    } catch (error) {
      if (error instanceof ArrwError) return error.violations.map(({ field }) => field);
    }
    return [];
  };
  const unknown = { stauts: "failed", created_after: "tomorrow", after_cursor: "x" };
  assert.deepEqual(
    fieldsOf(() => jobFilterOf(codec, unknown, ["after_cursor"])),
    ["stauts", "created_after"],
  );
  const parameters = new Parameters(codec.messageType("arrwdb.v1.ListJobsRequest"), [
    { name: "limit", field: "page_size" },
    { name: "deep", flag: true },
  ]);
  assert.deepEqual(parameters.read({ limit: "1", deep: "true" }), { page_size: 1, deep: true });
  const others = { page_token: 5 };
  const shown = (path: string): string => (path === "page_token" ? "token" : path);
  assert.deepEqual(
    fieldsOf(() => parameters.read({ limit: "many", deep: "true", more: "" }, { others, shown })),
    ["more", "token", "limit"],
  );
});

test("what could not be made is made at the next call, and then kept", async () => {
  let calls = 0;
  const page = madeOnce(async () => {
    calls += 1;
    if (calls === 1) throw new Error("not now");
    return calls;
  });
  await assert.rejects(Promise.all([page(), page()]), /not now/);
  assert.deepEqual([await page(), await page()], [2, 2]);
});

test("an error's answer is kept by nobody", () => {
  assert.equal(errorHeaders(new ArrwError("NOT_FOUND", "none"))["cache-control"], "no-store");
});

// biome-ignore lint/suspicious/noExplicitAny: the document is JSON
const document: any = JSON.parse(JSON.stringify(openApi(codec)));

test("the description has every route and every method of the API, each with its errors", () => {
  const operations: Record<string, unknown>[] = Object.values(document.paths).flatMap((item) =>
    Object.values(item as object),
  );
  const described = new Set(operations.map((operation) => operation["x-rpc"]));
  // By DELETE with purge=true.
  described.add("arrwdb.v1.JobService/DeleteJob");
  for (const service of ["JobService", "LibraryService", "QueueService"]) {
    for (const { name } of codec.registry.getService(`arrwdb.v1.${service}`)?.methods ?? [])
      assert.ok(described.has(`arrwdb.v1.${service}/${name}`), name);
  }
  for (const { path, method } of unaryRoutes(codec))
    assert.ok(document.paths[path]?.[method.toLowerCase()], path);
  assert.equal(new Set(operations.map(({ operationId }) => operationId)).size, operations.length);
  for (const { summary, responses, operationId } of operations) {
    assert.ok(typeof summary === "string" && summary.length > 0 && summary.length < 90, String(operationId));
    for (const status of ["400", "401", "503"]) assert.ok(Object.hasOwn(responses as object, status));
  }
});

test("what single routes answer and take is described", () => {
  const job = "/v1/jobs/{job_id}";
  const parts = document.paths[job].get.responses[200].content["application/json"].schema.allOf;
  assert.ok(Object.hasOwn(parts[1].properties, "stale_sequence"));
  assert.ok(document.paths[`${job}/items`].get.responses[409]);
  assert.equal(document.paths[job].get.responses[409], undefined);
  const names = document.paths[`${job}/export`].get.parameters.map(({ name }: { name: string }) => name);
  assert.ok(names.includes("Range") && !names.includes("access_token"));
});

test("every reference of the description is there, and nothing is described that nobody refers to", () => {
  const referred = new Set(
    Array.from(JSON.stringify(document).matchAll(/"\$ref":"#\/components\/(\w+\/\w+)"/g), ([, name]) => name),
  );
  const { schemas, responses, parameters } = document.components;
  const there = Object.entries({ schemas, responses, parameters }).flatMap(([kind, each]) =>
    Object.keys(each as object).map((name) => `${kind}/${name}`),
  );
  assert.deepEqual([...referred].sort(), there.sort());
});

test("what the schema of a request allows is read, and what is written of a message is as its schema says", () => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: "openapi", components: document.components });
  for (const name of ["Document", "Filter", "RetryPolicy", "IndexConfig"]) {
    const type = codec.messageType(`arrwdb.v1.${name}`);
    const allows = ajv.compile({ $ref: `openapi#/components/schemas/${name}` });
    fc.assert(
      fc.property(jsonOf(type), (json) => {
        assert.ok(allows(json), JSON.stringify(allows.errors));
        const written = codec.decode(type, codec.encode(type, json));
        assert.ok(allows(written), JSON.stringify([allows.errors, written]));
        assert.ok(!allows({ ...json, unknown_field: 1 }));
      }),
      { numRuns: 20 },
    );
  }
});

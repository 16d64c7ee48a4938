import type { DescField } from "@bufbuild/protobuf";
import { ArrwError, ErrorCode, invalidArgument, type Violation } from "../../../platform/errors.ts";
import { viewOfSubmitted } from "../domain/job-view.ts";
import { quoted } from "../domain/validation/violations.ts";
import { errorSchema, objectAt, submittedSchema } from "./answers.ts";
import type { JsonCodec } from "./codec.ts";
import { errorBody, withPaths } from "./errors.ts";
import { isObject, type JsonObject } from "./json-shape.ts";
import type { Body, Route } from "./route.ts";
import type { JsonSchema, Schemas } from "./schemas.ts";

/**
 * POST /v1/jobs/batch-import and its like, one for each type of job, and POST /v1/jobs for many at once. A body has the
 * fields of the request and those of the type's spec side by side.
 */

const REQUEST = "arrwdb.v1.SubmitJobRequest";
const ACCEPTED = 202;

export function submitRoutes(codec: JsonCodec): readonly Route[] {
  const flat = new FlatRequests(codec);
  const single = flat.types.map(
    (type): Route => ({
      method: "POST",
      path: `/v1/jobs/${type.name.replaceAll("_", "-")}`,
      rpc: "JobService.SubmitJob",
      summary: `Submits a job: ${type.name}`,
      body: flat.bodyOf(type),
      status: ACCEPTED,
      answer: {
        of: (response) => viewOfSubmitted(objectAt(response, "job")),
        schema: submittedSchema,
      },
      location: ({ job_id }) => `/v1/jobs/${job_id}`,
    }),
  );
  const many: Route = {
    method: "POST",
    path: "/v1/jobs",
    rpc: "JobService.SubmitJobs",
    summary: "Submits up to 10,000 jobs, each with its own outcome",
    body: flat.bodyOfMany(),
    answer: { of: manyOutcomes, schema: manyOutcomesSchema },
  };
  return [...single, many];
}

class FlatRequests {
  /** The fields of JobSpec. */
  readonly types: readonly DescField[];
  readonly #codec: JsonCodec;
  readonly #own: ReadonlySet<string>;

  constructor(codec: JsonCodec) {
    this.#codec = codec;
    this.types = codec.messageType("arrwdb.v1.JobSpec").fields;
    const own = codec.messageType(REQUEST).fields.map(({ name }) => name);
    this.#own = new Set(own.filter((name) => name !== "spec"));
  }

  bodyOf(type: DescField): Body {
    return {
      request: (body) => this.#nested(type.name, body),
      shown: flatPath,
      schema: (schemas) => this.#schema(schemas, type),
    };
  }

  bodyOfMany(): Body {
    return {
      request: (body) => this.#many(body),
      shown: (path) => {
        const [, index, rest = ""] = /^requests(\[\d+\])?\.?(.*)$/s.exec(path) ?? [];
        if (index === undefined) return path.startsWith("requests") ? "jobs" : path;
        return rest === "" ? `jobs${index}` : `jobs${index}.${flatPath(rest)}`;
      },
      schema: (schemas) => ({
        type: "object",
        properties: {
          jobs: {
            type: "array",
            minItems: 1,
            maxItems: 10_000,
            items: { anyOf: this.types.map((type) => this.#schema(schemas, type, true)) },
          },
        },
        required: ["jobs"],
        additionalProperties: false,
      }),
    };
  }

  /** What is no field of the request is the spec's, or nobody's: then it is refused as one of the spec. */
  #nested(type: string, body: JsonObject): JsonObject {
    const entries = Object.entries(body);
    const own = entries.filter(([name]) => this.#own.has(name));
    const others = entries.filter(([name]) => !this.#own.has(name));
    return { ...Object.fromEntries(own), spec: { [type]: Object.fromEntries(others) } };
  }

  #many({ jobs, ...others }: JsonObject): JsonObject {
    const violations: Violation[] = Object.keys(others).map((name) => ({
      field: name.slice(0, 100),
      description: "unknown field; there is jobs",
    }));
    const known = this.types.map(({ name }) => name);
    const requests = !Array.isArray(jobs)
      ? jobs
      : jobs.map((job: unknown, index) => {
          if (!isObject(job)) return job;
          const { job_type: type, ...flat } = job;
          if (typeof type === "string" && known.includes(type)) return this.#nested(type, flat);
          if (violations.length < 100) {
            const got = typeof type === "string" ? quoted(type) : type === undefined ? "none" : "no string";
            const description = `one of ${known.join(", ")}; got ${got}`;
            violations.push({ field: `jobs[${index}].job_type`, description });
          }
          return undefined;
        });
    if (violations.length > 0) throw invalidArgument(violations);
    return { requests };
  }

  #schema(schemas: Schemas, { name, message }: DescField, typed = false): JsonSchema {
    if (!message) throw new Error(`the spec of ${name} is no message`);
    const title = `${message.name.replace(/Spec$/, "")}${typed ? "Job" : "Request"}`;
    return schemas.define(title, () => {
      const request = schemas.fields(this.#codec.messageType(REQUEST), ["spec"]);
      const spec = schemas.fields(message);
      return {
        ...request,
        description: spec.description,
        properties: {
          ...(typed ? { job_type: { const: name } } : {}),
          ...(request.properties as object),
          ...(spec.properties as object),
        },
        ...(typed ? { required: ["job_type"] } : {}),
      };
    });
  }
}

/** "spec.batch_import.documents[0]" as "documents[0]". */
function flatPath(path: string): string {
  return path.replace(/^spec\.[a-z_]+\.(?=.)/, "");
}

const CODES = new Map(Object.entries(ErrorCode).map(([name, code]) => [code as number, name as ErrorCode]));

function manyOutcomes({ results }: JsonObject): JsonObject {
  return {
    results: (results as readonly JsonObject[]).map(({ job, error }) => {
      if (isObject(job)) return viewOfSubmitted(job);
      const { code, message, violations, reason } = error as {
        readonly code: number;
        readonly message: string;
        readonly violations: readonly Violation[];
        readonly reason: string;
      };
      const name = CODES.get(code) ?? "UNKNOWN";
      const known = new ArrwError(name, message, { violations, ...(reason === "" ? {} : { reason }) });
      return errorBody(withPaths(known, flatPath));
    }),
  };
}

function manyOutcomesSchema(schemas: Schemas): JsonSchema {
  return {
    type: "object",
    properties: {
      results: {
        type: "array",
        description: "One for each job, in order.",
        items: { anyOf: [submittedSchema(schemas), errorSchema(schemas)] },
      },
    },
    required: ["results"],
  };
}

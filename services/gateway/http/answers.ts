import { ErrorCode } from "../../../platform/errors.ts";
import { STATUS_WORDS, viewOfJob } from "../domain/job-view.ts";
import type { JsonCodec } from "./codec.ts";
import { enumWords, isObject, type JsonObject } from "./json-shape.ts";
import type { Answer } from "./route.ts";
import type { JsonSchema, Schemas } from "./schemas.ts";

/** How answers are shown, and described. */

const PACKAGE = "arrwdb.v1";

/** The answer's only message by itself: {"library": {...}} as {...}. */
export function onlyField(codec: JsonCodec, field: string, message: string): Answer {
  return {
    of: (response) => objectAt(response, field),
    schema: (schemas) => schemas.message(codec.messageType(`${PACKAGE}.${message}`)),
  };
}

/** Nothing to say: 204. */
export const NO_CONTENT: Answer = { of: () => undefined, schema: () => undefined };

/** {"job": {...}} as the job's view. */
export function theJob(codec: JsonCodec): Answer {
  return {
    of: (response) => viewOfJob(objectAt(response, "job")),
    schema: (schemas) => jobSchema(codec, schemas),
  };
}

export function objectAt(json: JsonObject, field: string): JsonObject {
  const value = json[field];
  return isObject(value) ? value : {};
}

/** The view of a job: the fields of arrwdb.v1.Job, some of them under other names. */
export function jobSchema(codec: JsonCodec, schemas: Schemas): JsonSchema {
  const type = codec.messageType(`${PACKAGE}.Job`);
  return schemas.define("Job", () => {
    const own = schemas.fields(type, ["spec", "library_id", "result"]).properties as Record<
      string,
      JsonSchema
    >;
    const { job_id, type: jobType, status, error, ...others } = own;
    const states = [...enumWords(codec.enumType(`${PACKAGE}.JobStatus`)).values()];
    const properties = {
      job_id,
      job_type: jobType,
      status: {
        type: "string",
        enum: STATUS_WORDS,
        description:
          "Where it stands, roughly: scheduled and blocked jobs are pending, too. state says it exactly.",
      },
      state: { type: "string", enum: states, description: status?.description },
      ...others,
      library_id: { type: ["string", "null"], description: "Id of the library it works on; null = none." },
      spec: {
        description: "As submitted, without documents and document_ids.",
        ...oneOf(codec, schemas, "JobSpec"),
      },
      result: {
        description: schemas.comment(`${PACKAGE}.Job.result`),
        ...oneOf(codec, schemas, "JobResult"),
      },
      error: { type: ["string", "null"], description: "Why it failed last; null = it has not." },
      error_details: { ...error, description: error?.description },
    };
    return {
      type: "object",
      description: "A job.",
      properties,
      required: Object.keys(properties),
    };
  });
}

/** Any of the messages of a oneof, without the name that says which. */
function oneOf(codec: JsonCodec, schemas: Schemas, message: string): JsonSchema {
  const { fields } = codec.messageType(`${PACKAGE}.${message}`);
  const each = fields.flatMap((field) => (field.message ? [schemas.message(field.message)] : []));
  return { anyOf: [...each, { type: "null" }] };
}

export function submittedSchema(schemas: Schemas): JsonSchema {
  return schemas.define("SubmittedJob", () => ({
    type: "object",
    properties: {
      job_id: { type: "string" },
      status: {
        type: "string",
        enum: STATUS_WORDS,
        description: "pending; of a repeated request_id whose job has ended, how that ended.",
      },
      message: { type: "string", examples: ["Batch import job submitted (100 documents)"] },
    },
    required: ["job_id", "status", "message"],
  }));
}

export function errorSchema(schemas: Schemas): JsonSchema {
  return schemas.define("Error", () => ({
    type: "object",
    properties: {
      error: {
        type: "object",
        properties: {
          code: { type: "string", enum: Object.keys(ErrorCode), description: "Of google.rpc.Code." },
          message: { type: "string", description: "For people." },
          fields: {
            type: "array",
            description: "All that is wrong with the request.",
            items: {
              type: "object",
              properties: {
                field: { type: "string", examples: ["documents[3].texts[0]"] },
                description: { type: "string", description: "The bound and the value." },
              },
              required: ["field", "description"],
            },
          },
          reason: {
            type: "string",
            description: "Stable, for programs.",
            examples: ["LIBRARY_NOT_FOUND"],
          },
          metadata: { type: "object", additionalProperties: { type: "string" } },
          retry_after_ms: { type: "integer", description: "When to try again, at the earliest." },
        },
        required: ["code", "message", "fields", "reason"],
      },
    },
    required: ["error"],
  }));
}

export function countsSchema(names: readonly string[]): JsonSchema {
  return Object.fromEntries(names.map((name) => [name, { type: "integer" }]));
}

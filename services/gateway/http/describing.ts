import type { JsonCodec } from "./codec.ts";
import type { Parameter } from "./parameters.ts";
import type { JsonSchema, Schemas } from "./schemas.ts";

/** What the descriptions of routes are made with. */
export interface Describing {
  readonly codec: JsonCodec;
  readonly schemas: Schemas;
  parameters(message: string, parameters: readonly Parameter[]): readonly JsonSchema[];
  pathParameters(path: string, message: string): readonly JsonSchema[];
  /** By statuses. */
  failures(statuses: readonly number[]): Record<string, JsonSchema>;
}

export function json(schema: JsonSchema): JsonSchema {
  return { "application/json": { schema } };
}

/** "GET /v1/jobs/{job_id}" as "getJobsJobId". */
export function operationId(method: string, path: string): string {
  const words = path.replace(/^\/v1\//, "").match(/[A-Za-z]+/g) ?? [];
  return method.toLowerCase() + words.map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join("");
}

import type { FastifyRequest } from "fastify";
import { encode } from "../../../platform/encode.ts";
import { invalidArgument } from "../../../platform/errors.ts";

/** Parameters that streams have besides those of the same call as a plain request. */

type Query = Readonly<Record<string, unknown>>;

/** Where EventSource stands when it connects again; undefined = at the beginning. */
export function lastEventId({ headers }: FastifyRequest): string | undefined {
  const id = headers["last-event-id"];
  return typeof id === "string" && id !== "" ? id : undefined;
}

/** @throws INVALID_ARGUMENT when it is given more than once */
export function queryText(query: unknown, name: string): string | undefined {
  const value = (query as Query)[name];
  if (value === undefined || typeof value === "string") return value;
  throw invalidArgument([{ field: name, description: "given once; got several" }]);
}

/** @throws INVALID_ARGUMENT for anything but true and false */
export function queryFlag(query: unknown, name: string): boolean {
  const text = queryText(query, name) ?? "false";
  if (text === "true" || text === "") return true;
  if (text === "false") return false;
  throw invalidArgument([{ field: name, description: `true or false; got ${quoted(text)}` }]);
}

/** The revision behind which a watch of a job begins. @throws INVALID_ARGUMENT */
export function revisionAfter(request: FastifyRequest): bigint {
  const known = lastEventId(request);
  const text = known ?? queryText(request.query, "after_revision") ?? "0";
  if (/^\d{1,15}$/.test(text)) return BigInt(text);
  const field = known === undefined ? "after_revision" : "Last-Event-ID";
  throw invalidArgument([{ field, description: `a revision: an integer from 0; got ${quoted(text)}` }]);
}

/** A handler may answer with bytes or with the message. */
export function encodedBy<T>(type: Parameters<typeof encode<T>>[0], message: T | Buffer): Buffer {
  return Buffer.isBuffer(message) ? message : encode(type, message);
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}

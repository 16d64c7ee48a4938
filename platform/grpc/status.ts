import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import { Any } from "../../proto/gen/google/protobuf/any.ts";
import {
  BadRequest,
  ErrorInfo,
  PreconditionFailure,
  ResourceInfo,
  RetryInfo,
} from "../../proto/gen/google/rpc/error_details.ts";
import { Status } from "../../proto/gen/google/rpc/status.ts";
import { ArrwError, ErrorCode, type Violation } from "../errors.ts";

/** ArrwError to gRPC status and back, with google.rpc details in the `grpc-status-details-bin` trailer. */

const DETAILS_KEY = "grpc-status-details-bin";
const DOMAIN = "arrwdb";
const MAX_MESSAGE_LENGTH = 2_000;
const MAX_DETAILS_BYTES = 4_096;
const MAX_VIOLATIONS = 100;
const MAX_DESCRIPTION_LENGTH = 500;
const CODE_NAMES = new Map(
  Object.entries(ErrorCode).map(([name, code]) => [code as number, name as ErrorCode]),
);

const TYPE_PREFIX = "type.googleapis.com/";
const Detail = {
  errorInfo: "google.rpc.ErrorInfo",
  badRequest: "google.rpc.BadRequest",
  resourceInfo: "google.rpc.ResourceInfo",
  retryInfo: "google.rpc.RetryInfo",
  preconditionFailure: "google.rpc.PreconditionFailure",
} as const;

function pack(type: string, writer: { finish(): Uint8Array }): Any {
  return Any.fromPartial({ typeUrl: TYPE_PREFIX + type, value: Buffer.from(writer.finish()) });
}

/** What grpc-js takes as the error of a call. */
export function toStatus(error: ArrwError): Pick<StatusObject, "code" | "details" | "metadata"> {
  const message = headerSafe(error.message);
  const code = ErrorCode[error.code];
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, fittingStatus(code, message, detailsOf(error), error.violations));
  return { code: code as status, details: message, metadata };
}

/** Whether the status says more than its code and its text. */
export function hasDetails({ metadata }: { readonly metadata?: Metadata | null }): boolean {
  return (metadata?.get(DETAILS_KEY).length ?? 0) > 0;
}

/** All but the BadRequest, the most important first. */
function detailsOf(error: ArrwError): Any[] {
  const { reason, metadata, resource, retryAfterMs } = error;
  const info = ErrorInfo.fromPartial({ reason, domain: DOMAIN, metadata });
  const details = [pack(Detail.errorInfo, ErrorInfo.encode(info))];
  if (retryAfterMs !== undefined) {
    const seconds = BigInt(Math.floor(retryAfterMs / 1000));
    const nanos = Math.round((retryAfterMs % 1000) * 1e6);
    const retry = RetryInfo.fromPartial({ retryDelay: { seconds, nanos } });
    details.push(pack(Detail.retryInfo, RetryInfo.encode(retry)));
  }
  if (resource) {
    const known = ResourceInfo.fromPartial({ resourceType: resource.type, resourceName: resource.name });
    details.push(pack(Detail.resourceInfo, ResourceInfo.encode(known)));
  }
  if (error.code === "FAILED_PRECONDITION") {
    const subject = resource ? `${resource.type}/${resource.name}` : "";
    const description = wellFormed(error.message.slice(0, MAX_DESCRIPTION_LENGTH));
    const failure = PreconditionFailure.fromPartial({ violations: [{ type: reason, subject, description }] });
    details.push(pack(Detail.preconditionFailure, PreconditionFailure.encode(failure)));
  }
  return details;
}

/** A trailer above the peer's header limit breaks the call: violations that don't fit are left out, then details. */
function fittingStatus(
  code: number,
  message: string,
  details: readonly Any[],
  violations: readonly Violation[],
): Buffer {
  for (let kept = Math.min(violations.length, MAX_VIOLATIONS); ; kept >>= 1) {
    const all = kept > 0 ? [...details, badRequest(violations.slice(0, kept))] : details;
    const bytes = Status.encode(Status.fromPartial({ code, message, details: [...all] })).finish();
    if (bytes.length <= MAX_DETAILS_BYTES) return Buffer.from(bytes);
    if (kept > 0) continue;
    const least = Status.fromPartial({ code, message, details: details.slice(0, 1) });
    return Buffer.from(Status.encode(least).finish());
  }
}

function badRequest(violations: readonly Violation[]): Any {
  const fieldViolations = violations.map(({ field, description }) => ({ field, description }));
  return pack(Detail.badRequest, BadRequest.encode(BadRequest.fromPartial({ fieldViolations })));
}

/** The text as `grpc-message` can carry it: no half characters, bounded as it is on the wire, percent-encoded. */
function headerSafe(text: string): string {
  for (let length = MAX_MESSAGE_LENGTH; ; length = Math.floor(length / 2)) {
    const cut = wellFormed(text.slice(0, length));
    if (encodeURI(cut).length <= MAX_MESSAGE_LENGTH) return cut;
  }
}

function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}

interface KnownDetails {
  reason?: string;
  metadata?: Record<string, string>;
  violations?: readonly Violation[];
  resource?: { readonly type: string; readonly name: string };
  retryAfterMs?: number;
}

/** What a grpc-js client got, as an ArrwError with its details. */
export function fromServiceError(error: ServiceError): ArrwError {
  const code = CODE_NAMES.get(error.code) ?? "UNKNOWN";
  const details = knownDetails(error.metadata?.get(DETAILS_KEY)[0]);
  return new ArrwError(code, error.details || error.message, { ...details, cause: error });
}

function knownDetails(trailer: unknown): KnownDetails {
  const known: KnownDetails = {};
  if (!(trailer instanceof Buffer)) return known;
  try {
    for (const { typeUrl, value } of Status.decode(trailer).details) {
      addDetail(known, typeUrl.slice(typeUrl.lastIndexOf("/") + 1), value);
    }
  } catch {
    // Details that can't be read say nothing: the code does.
  }
  return known;
}

function addDetail(known: KnownDetails, type: string, value: Uint8Array): void {
  if (type === Detail.errorInfo) {
    const { reason, metadata } = ErrorInfo.decode(value);
    Object.assign(known, { reason, metadata });
  } else if (type === Detail.badRequest) {
    const { fieldViolations } = BadRequest.decode(value);
    known.violations = fieldViolations.map(({ field, description }) => ({ field, description }));
  } else if (type === Detail.resourceInfo) {
    const { resourceType, resourceName } = ResourceInfo.decode(value);
    known.resource = { type: resourceType, name: resourceName };
  } else if (type === Detail.retryInfo) {
    const { retryDelay } = RetryInfo.decode(value);
    if (retryDelay) known.retryAfterMs = Number(retryDelay.seconds) * 1000 + retryDelay.nanos / 1e6;
  }
}

export { status };

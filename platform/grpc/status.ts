import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import { Any } from "nice-grpc-error-details/lib/proto/google/protobuf/any.js";
import {
  BadRequest,
  ErrorInfo,
  ResourceInfo,
  RetryInfo,
} from "nice-grpc-error-details/lib/proto/google/rpc/error_details.js";
import { Status } from "nice-grpc-error-details/lib/proto/google/rpc/status.js";
import { ArrwError, ErrorCode, type Violation } from "../errors.ts";

/** ArrwError to gRPC status and back, with google.rpc details in the `grpc-status-details-bin` trailer. */

const DETAILS_KEY = "grpc-status-details-bin";
const DOMAIN = "arrwdb";
const MAX_MESSAGE_LENGTH = 2_000;
const MAX_DETAILS_BYTES = 4_096;
const MAX_VIOLATIONS = 100;
const CODE_NAMES = new Map(
  Object.entries(ErrorCode).map(([name, code]) => [code as number, name as ErrorCode]),
);

interface DetailType<T> {
  readonly $type: string;
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
  fromPartial(message: never): T;
}

function pack<T>(type: DetailType<T>, message: T): Any {
  const value = Buffer.from(type.encode(message).finish());
  return Any.fromPartial({ typeUrl: `type.googleapis.com/${type.$type}`, value });
}

/** What grpc-js takes as the error of a call. */
export function toStatus(error: ArrwError): Pick<StatusObject, "code" | "details" | "metadata"> {
  const details = [
    pack(
      ErrorInfo,
      ErrorInfo.fromPartial({ reason: error.reason, domain: DOMAIN, metadata: error.metadata }),
    ),
  ];
  if (error.resource) {
    const { type, name } = error.resource;
    details.push(pack(ResourceInfo, ResourceInfo.fromPartial({ resourceType: type, resourceName: name })));
  }
  if (error.retryAfterMs !== undefined) {
    const seconds = Math.floor(error.retryAfterMs / 1000);
    const nanos = Math.round((error.retryAfterMs % 1000) * 1e6);
    details.push(pack(RetryInfo, RetryInfo.fromPartial({ retryDelay: { seconds, nanos } })));
  }
  const message = headerSafe(error.message);
  const code = ErrorCode[error.code];
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, fittingStatus(code, message, details, error.violations));
  return { code: code as status, details: message, metadata };
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
  return pack(BadRequest, BadRequest.fromPartial({ fieldViolations }));
}

/** The text as `grpc-message` can carry it: no half characters, bounded as it is on the wire, percent-encoded. */
function headerSafe(text: string): string {
  for (let length = MAX_MESSAGE_LENGTH; ; length = Math.floor(length / 2)) {
    const cut = text.slice(0, length).replace(/\p{Surrogate}/gu, "\ufffd");
    if (encodeURI(cut).length <= MAX_MESSAGE_LENGTH) return cut;
  }
}

/** What a grpc-js client got, as an ArrwError with its details. */
export function fromServiceError(error: ServiceError): ArrwError {
  const code = CODE_NAMES.get(error.code) ?? "UNKNOWN";
  const bytes = error.metadata?.get(DETAILS_KEY)[0];
  let reason: string = code;
  let metadata: Record<string, string> = {};
  let violations: Violation[] = [];
  let resource: { type: string; name: string } | undefined;
  let retryAfterMs: number | undefined;
  for (const any of bytes instanceof Buffer ? Status.decode(bytes).details : []) {
    if (any.typeUrl.endsWith(ErrorInfo.$type)) ({ reason, metadata } = ErrorInfo.decode(any.value));
    if (any.typeUrl.endsWith(BadRequest.$type)) {
      violations = BadRequest.decode(any.value).fieldViolations.map(({ field, description }) => ({
        field,
        description,
      }));
    }
    if (any.typeUrl.endsWith(ResourceInfo.$type)) {
      const info = ResourceInfo.decode(any.value);
      resource = { type: info.resourceType, name: info.resourceName };
    }
    if (any.typeUrl.endsWith(RetryInfo.$type)) {
      const delay = RetryInfo.decode(any.value).retryDelay;
      retryAfterMs = delay ? Number(delay.seconds) * 1000 + delay.nanos / 1e6 : undefined;
    }
  }
  return new ArrwError(code, error.details || error.message, {
    reason,
    metadata,
    violations,
    cause: error,
    ...(resource ? { resource } : {}),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

export { status };

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createFileRegistry, fromBinary, type Registry } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { unavailable } from "../../../platform/errors.ts";
import {
  DownloadExportRequest,
  GetJobRequest,
  JobServiceService,
  JobStatus,
  RetryJobRequest,
  SubmitJobRequest,
  WatchJobRequest,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { GetLibraryRequest, LibraryServiceService } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import {
  BadRequest,
  ErrorInfo,
  PreconditionFailure,
  ResourceInfo,
  RetryInfo,
} from "../../../proto/gen/google/rpc/error_details.ts";
import { Status } from "../../../proto/gen/google/rpc/status.ts";
import { ServerReflectionClient } from "../../../proto/gen/grpc/reflection/v1/reflection.ts";
import { HealthCheckRequest, HealthService } from "../../../proto/gen/health/v1/health.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";

interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly info: ErrorInfo;
  readonly badRequest: BadRequest | undefined;
  readonly resource: ResourceInfo | undefined;
  readonly retryMs: number | undefined;
  readonly precondition: PreconditionFailure | undefined;
}

const asIs = (bytes: Buffer): Buffer => bytes;

/** The refusal of a call made by hand, so that nothing of the client's own code stands between. */
class ByHand {
  readonly client: Client;

  constructor({ address }: TestGateway, options: object = {}) {
    this.client = new Client(address, credentials.createInsecure(), options);
  }

  async refusal(
    path: string,
    request: Uint8Array = Buffer.alloc(0),
    call: { readonly deadlineMs?: number; readonly metadata?: Metadata } = {},
  ): Promise<Refusal> {
    const options = call.deadlineMs === undefined ? {} : { deadline: call.deadlineMs };
    const metadata = call.metadata ?? new Metadata();
    const error = await new Promise<ServiceError | undefined>((resolve) => {
      const stream = this.client.makeServerStreamRequest(
        path,
        asIs,
        asIs,
        Buffer.from(request),
        metadata,
        options,
      );
      stream.on("data", () => undefined);
      stream.on("error", (thrown: ServiceError) => resolve(thrown));
      stream.on("end", () => resolve(undefined));
    });
    assert.ok(error, `${path} was refused`);
    return refusalOf(error);
  }
}

function refusalOf(error: ServiceError): Refusal {
  const [trailer] = error.metadata.get("grpc-status-details-bin");
  assert.ok(trailer instanceof Buffer, `${error.message} has details`);
  const { code, message, details } = Status.decode(trailer);
  assert.equal(code, error.code);
  assert.equal(message, error.details);
  const find = <T>(type: string, decode: (bytes: Uint8Array) => T): T | undefined => {
    const any = details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/google.rpc.${type}`);
    return any && decode(any.value);
  };
  const info = find("ErrorInfo", (bytes) => ErrorInfo.decode(bytes));
  assert.ok(info, `${error.message} has an ErrorInfo`);
  assert.equal(info.domain, "arrwdb");
  const delay = find("RetryInfo", (bytes) => RetryInfo.decode(bytes))?.retryDelay;
  return {
    code: status[error.code] ?? "",
    message,
    info,
    badRequest: find("BadRequest", (bytes) => BadRequest.decode(bytes)),
    resource: find("ResourceInfo", (bytes) => ResourceInfo.decode(bytes)),
    retryMs: delay && Number(delay.seconds) * 1_000 + delay.nanos / 1e6,
    precondition: find("PreconditionFailure", (bytes) => PreconditionFailure.decode(bytes)),
  };
}

const UNKNOWN_JOB = "0190163d-8694-739b-aea5-966c26f8ad91";
const JOB = (name: keyof typeof JobServiceService): string => JobServiceService[name].path;

async function setUp(t: TestContext, options: object = {}) {
  const gateway = await startTestGateway(t);
  const byHand = new ByHand(gateway, options);
  t.after(() => byHand.client.close());
  return { gateway, byHand };
}

test("every refusal names its reason, and what its code needs besides", async (t) => {
  const { gateway, byHand } = await setUp(t, { "grpc.max_send_message_length": -1 });
  const { scheduler } = gateway;
  await scheduler.move(UNKNOWN_JOB.replace("91", "92"), { status: JobStatus.JOB_STATUS_PENDING });
  const pending = { jobId: UNKNOWN_JOB.replace("91", "92") };

  const seen: string[] = [];
  const refused = async (code: string, reason: string, call: Promise<Refusal>): Promise<Refusal> => {
    const refusal = await call;
    assert.deepEqual([refusal.code, refusal.info.reason], [code, reason], refusal.message);
    seen.push(code);
    if (code === "UNAVAILABLE") assert.notEqual(refusal.retryMs, undefined, reason);
    if (code === "NOT_FOUND") assert.ok(refusal.resource?.resourceType, reason);
    if (code === "FAILED_PRECONDITION") assert.equal(refusal.precondition?.violations[0]?.type, reason);
    return refusal;
  };

  const unknown = await refused(
    "UNIMPLEMENTED",
    "METHOD_NOT_FOUND",
    byHand.refusal("/arrwdb.v1.JobService/Nö%"),
  );
  assert.match(unknown.message, /JobService/);
  await refused("UNIMPLEMENTED", "METHOD_NOT_FOUND", byHand.refusal("/"));

  const malformed = byHand.refusal(JOB("getJob"), Buffer.from([0x0a, 0x7f]));
  assert.equal((await refused("INVALID_ARGUMENT", "MALFORMED_MESSAGE", malformed)).retryMs, undefined);
  const large = byHand.refusal(JOB("submitJob"), Buffer.alloc(9 * 1024 * 1024));
  assert.equal((await refused("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE", large)).retryMs, undefined);

  const invalid = SubmitJobRequest.encode(
    SubmitJobRequest.fromPartial({ libraryId: "x".repeat(300) }),
  ).finish();
  const { badRequest } = await refused(
    "INVALID_ARGUMENT",
    "INVALID_ARGUMENT",
    byHand.refusal(JOB("submitJob"), invalid),
  );
  assert.ok((badRequest?.fieldViolations.length ?? 0) >= 1);

  const job = GetJobRequest.encode(GetJobRequest.fromPartial({ jobId: UNKNOWN_JOB })).finish();
  const { resource } = await refused("NOT_FOUND", "JOB_NOT_FOUND", byHand.refusal(JOB("getJob"), job));
  assert.deepEqual([resource?.resourceType, resource?.resourceName], ["job", UNKNOWN_JOB]);
  const watch = WatchJobRequest.encode(WatchJobRequest.fromPartial({ jobId: UNKNOWN_JOB })).finish();
  await refused("NOT_FOUND", "JOB_NOT_FOUND", byHand.refusal(JOB("watchJob"), watch));
  const library = GetLibraryRequest.encode(GetLibraryRequest.fromPartial({ libraryId: "none" })).finish();
  await refused(
    "NOT_FOUND",
    "LIBRARY_NOT_FOUND",
    byHand.refusal(LibraryServiceService.getLibrary.path, library),
  );
  const service = HealthCheckRequest.encode({ service: "none" }).finish();
  await refused("NOT_FOUND", "SERVICE_NOT_FOUND", byHand.refusal(HealthService.check.path, service));

  const retry = RetryJobRequest.encode(RetryJobRequest.fromPartial(pending)).finish();
  await refused("FAILED_PRECONDITION", "JOB_NOT_TERMINAL", byHand.refusal(JOB("retryJob"), retry));
  const download = DownloadExportRequest.encode(DownloadExportRequest.fromPartial(pending)).finish();
  await refused("FAILED_PRECONDITION", "NO_EXPORT", byHand.refusal(JOB("downloadExport"), download));

  scheduler.failures.push(
    unavailable("stopping"),
    ...Array.from({ length: 50 }, () => unavailable("stopping")),
  );
  await refused(
    "UNAVAILABLE",
    "UNAVAILABLE",
    byHand.refusal(JOB("getJob"), job, { deadlineMs: Date.now() + 500 }),
  );
  assert.equal(new Set(seen).size, 6);
});

test("reflection serves the details' types with all that they import", async (t) => {
  const gateway = await startTestGateway(t);
  const client = new ServerReflectionClient(gateway.address, credentials.createInsecure());
  t.after(() => client.close());
  const stream = client.serverReflectionInfo();
  const files: Buffer[] = [];
  const ended = new Promise<void>((resolve) => stream.on("end", resolve));
  stream.on("data", ({ messageResponse }) => {
    assert.equal(messageResponse?.$case, "fileDescriptorResponse");
    files.push(...messageResponse.value.fileDescriptorProto);
  });
  const symbols = ["ErrorInfo", "BadRequest", "RetryInfo", "ResourceInfo", "PreconditionFailure", "Status"];
  for (const symbol of symbols) {
    const messageRequest = { $case: "fileContainingSymbol" as const, value: `google.rpc.${symbol}` };
    stream.write({ host: "", messageRequest });
  }
  stream.end();
  await ended;
  const registry = registryOf(files);
  for (const symbol of symbols) assert.ok(registry.getMessage(`google.rpc.${symbol}`), symbol);
  assert.ok(registry.getMessage("google.protobuf.Any"));
  assert.ok(registry.getMessage("google.protobuf.Duration"));
});

function registryOf(files: readonly Buffer[]): Registry {
  const byName = new Map(
    files.map((bytes) => {
      const file = fromBinary(FileDescriptorProtoSchema, bytes);
      return [file.name, file] as const;
    }),
  );
  const set = fromBinary(FileDescriptorSetSchema, new Uint8Array());
  set.file = [...byName.values()].sort((a, b) => a.dependency.length - b.dependency.length);
  return createFileRegistry(set);
}

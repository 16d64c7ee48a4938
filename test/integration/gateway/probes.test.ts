import assert from "node:assert/strict";
import { test } from "node:test";
import { create, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { credentials } from "@grpc/grpc-js";
import { serverStream, unary } from "../../../platform/grpc/client.ts";
import {
  ServerReflectionClient,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from "../../../proto/gen/grpc/reflection/v1/reflection.ts";
import { ServerReflectionClient as AlphaClient } from "../../../proto/gen/grpc/reflection/v1alpha/reflection.ts";
import { HealthClient } from "../../../proto/gen/health/v1/health.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway } from "../../support/gateway.ts";

type Asked = ServerReflectionRequest["messageRequest"];
const CALL = { timeoutMs: 5_000 };
const SERVING = 1;
const NOT_SERVING = 2;

/** All answers of one stream, in order. */
function reflect(
  client: ServerReflectionClient | AlphaClient,
  asked: readonly Asked[],
): Promise<ServerReflectionResponse["messageResponse"][]> {
  return new Promise((resolve, reject) => {
    const stream = client.serverReflectionInfo();
    const answers: ServerReflectionResponse["messageResponse"][] = [];
    stream.on("data", ({ messageResponse }: ServerReflectionResponse) => answers.push(messageResponse));
    stream.on("error", reject);
    stream.on("end", () => resolve(answers));
    for (const messageRequest of asked) stream.write({ host: "", messageRequest });
    stream.end();
  });
}

test("reflection lists the services and gives every file of theirs, imports included", async (t) => {
  const { address } = await startTestGateway(t);
  for (const Stub of [ServerReflectionClient, AlphaClient]) {
    const client = new Stub(address, credentials.createInsecure());
    const [list, files, method, wellKnown, unknown, queues, nothing] = await reflect(client, [
      { $case: "listServices", value: "" },
      { $case: "fileContainingSymbol", value: "arrwdb.v1.JobService" },
      { $case: "fileContainingSymbol", value: "arrwdb.v1.LibraryService.Search" },
      { $case: "fileByFilename", value: "google/protobuf/struct.proto" },
      { $case: "fileContainingSymbol", value: "arrwdb.v1.Nothing" },
      { $case: "fileContainingSymbol", value: "arrwdb.v1.QueueService" },
      undefined,
    ]);
    client.close();
    assert.ok(list?.$case === "listServicesResponse");
    assert.deepEqual(
      list.value.service.map(({ name }) => name),
      ["arrwdb.v1.JobService", "arrwdb.v1.LibraryService", "arrwdb.v1.QueueService", "grpc.health.v1.Health"],
    );
    assert.ok(files?.$case === "fileDescriptorResponse");
    const protos = files.value.fileDescriptorProto.map((bytes) =>
      fromBinary(FileDescriptorProtoSchema, bytes),
    );
    assert.deepEqual(protos.map(({ name }) => name).sort(), [
      "arrwdb/v1/document.proto",
      "arrwdb/v1/jobs.proto",
      "google/protobuf/duration.proto",
      "google/protobuf/struct.proto",
      "google/protobuf/timestamp.proto",
    ]);
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: protos.reverse() }));
    assert.equal(registry.getService("arrwdb.v1.JobService")?.methods.length, 17);
    assert.equal(method?.$case, "fileDescriptorResponse");
    assert.equal(wellKnown?.$case, "fileDescriptorResponse");
    assert.equal(queues?.$case, "fileDescriptorResponse");
    assert.ok(unknown?.$case === "errorResponse" && unknown.value.errorCode === 5);
    assert.ok(nothing?.$case === "errorResponse" && nothing.value.errorCode === 3);
  }
});

test("health and readiness follow what the gateway needs", async (t) => {
  const { address, probes, scheduler, natsServer } = await startTestGateway(t);
  const health = new HealthClient(address, credentials.createInsecure());
  const check = async (service: string) => (await unary(health, health.check, { service }, CALL)).status;
  const ready = async () => (await fetch(`${probes}/readyz`)).status;
  await eventually(async () => (await check("")) === SERVING);
  assert.equal(await ready(), 200);
  await assert.rejects(check("nothing"), { code: "NOT_FOUND" });
  const seen: number[] = [];
  const watching = (async () => {
    for await (const { status } of serverStream(
      health,
      health.watch,
      { service: "" },
      { timeoutMs: 20_000 },
    )) {
      seen.push(status);
      if (seen.length === 3) return;
    }
  })();
  await scheduler.stop();
  await eventually(async () => (await check("arrwdb.v1.JobService")) === NOT_SERVING);
  assert.equal(await check("arrwdb.v1.LibraryService"), SERVING);
  assert.equal(await ready(), 503);
  assert.match(await (await fetch(`${probes}/readyz`)).text(), /scheduler: not connected/);
  await eventually(() => seen.length === 2);
  await scheduler.start();
  t.after(() => scheduler.stop());
  await watching;
  assert.deepEqual(seen, [SERVING, NOT_SERVING, SERVING]);
  await natsServer.kill();
  await eventually(async () => (await ready()) === 503);
  assert.equal((await fetch(`${probes}/healthz`)).status, 200);
  health.close();
});

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  Server,
  ServerCredentials,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
} from "@grpc/grpc-js";
import { ArrwClient, type ArrwClientOptions } from "../../client/index.ts";
import { ArrwError } from "../../platform/errors.ts";
import { toStatus } from "../../platform/grpc/status.ts";
import { GetJobResponse, Job, JobServiceService } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { GetLibraryResponse, LibraryServiceService } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { QueueServiceService } from "../../proto/gen/arrwdb/v1/queues.ts";

type Answer = (error: Partial<ServiceError> | null, response?: unknown) => void;

/** A gateway that notes what every call shows of its caller; calls before `refusals` run out are refused. */
class Door {
  readonly seen: (string | undefined)[] = [];
  refusals = 0;
  readonly #server = new Server();
  port = 0;

  async start(): Promise<void> {
    const answering = (response: unknown) => (call: ServerUnaryCall<unknown, unknown>, answer: Answer) => {
      this.seen.push(call.metadata.get("authorization")[0]?.toString());
      if (this.refusals === 0) return answer(null, response);
      this.refusals -= 1;
      answer(refusal());
    };
    this.#server.addService(JobServiceService, {
      getJob: answering(GetJobResponse.fromPartial({ job: { jobId: "j" } })),
      deleteJob: answering({}),
      watchJob: (call: ServerWritableStream<unknown, unknown>) => {
        this.seen.push(call.metadata.get("authorization")[0]?.toString());
        if (this.refusals > 0) {
          this.refusals -= 1;
          call.emit("error", refusal());
          return;
        }
        call.write({ job: Job.fromPartial({ jobId: "j", revision: 1, status: 6 }) });
        call.end();
      },
      importDocuments: (call: ServerReadableStream<unknown, unknown>, answer: Answer) => {
        this.seen.push(call.metadata.get("authorization")[0]?.toString());
        call.resume();
        call.once("end", () => answer(null, { job: Job.fromPartial({ jobId: "i" }) }));
      },
    });
    this.#server.addService(LibraryServiceService, {
      getLibrary: answering(GetLibraryResponse.fromPartial({ library: { name: "docs" } })),
    });
    this.#server.addService(QueueServiceService, { listWorkers: answering({ workers: [] }) });
    this.port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      );
    });
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

const RETRY_AFTER_MS = 30;

function refusal(): Partial<ServiceError> {
  const error = new ArrwError("RESOURCE_EXHAUSTED", "too often", {
    reason: "RATE_LIMITED",
    retryAfterMs: RETRY_AFTER_MS,
  });
  return toStatus(error) as Partial<ServiceError>;
}

async function start(
  t: TestContext,
  options: ArrwClientOptions,
): Promise<{ door: Door; client: ArrwClient }> {
  const door = new Door();
  await door.start();
  const client = new ArrwClient({ address: `127.0.0.1:${door.port}`, timeoutMs: 5_000, ...options });
  t.after(() => {
    client.close();
    door.stop();
  });
  return { door, client };
}

test("the key goes with every call: unary, streams both ways, all three services", async (t) => {
  const { door, client } = await start(t, { apiKey: "arrw_key" });
  await client.get("j");
  await client.getLibrary("docs");
  await client.queues.workers();
  for await (const _job of client.watch("j"));
  await client.importDocuments("docs", [{ texts: ["a"] }]);
  assert.deepEqual(door.seen, Array(5).fill("Bearer arrw_key"));
});

test("a token is asked for before each call; what it throws is UNAUTHENTICATED", async (t) => {
  const tokens: (string | Error)[] = ["one", "two", new Error("the vault is closed")];
  const token = async (): Promise<string> => {
    const next = tokens.shift() ?? new Error("none left");
    if (next instanceof Error) throw next;
    return next;
  };
  const { door, client } = await start(t, { token });
  await client.get("j");
  await client.importDocuments("docs", [{ texts: ["a"] }]);
  await assert.rejects(client.get("j"), {
    code: "UNAUTHENTICATED",
    message: /no token: the vault is closed/,
  });
  await assert.rejects(client.watch("j").next(), { code: "UNAUTHENTICATED", message: /none left/ });
  assert.deepEqual(door.seen, ["Bearer one", "Bearer two"]);
});

test("without a key none is sent", async (t) => {
  const { door, client } = await start(t, {});
  await client.get("j");
  assert.deepEqual(door.seen, [undefined]);
});

test("what a limit refuses is tried again after the time it says, until the deadline", async (t) => {
  const { door, client } = await start(t, {});
  door.refusals = 2;
  const began = performance.now();
  await client.get("j");
  assert.equal(door.seen.length, 3);
  assert.ok(performance.now() - began >= 2 * RETRY_AFTER_MS - 5);
  door.refusals = 1;
  for await (const _job of client.watch("j"));
  assert.equal(door.refusals, 0);
  door.refusals = Number.MAX_SAFE_INTEGER;
  await assert.rejects(client.get("j", { timeoutMs: 200 }), { reason: "RATE_LIMITED" });
});

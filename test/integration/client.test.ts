import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  Server,
  ServerCredentials,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ArrwClient, ClientError, type DocumentInput, type Job as JobMessage } from "../../client/index.ts";
import { freePort } from "../../platform/free-port.ts";
import {
  type GetJobLogsRequest,
  type GetJobLogsResponse,
  type ImportDocumentsRequest,
  Job,
  JobServiceService,
  JobStatus,
  type SubmitJobRequest,
  type WatchJobRequest,
  type WatchJobResponse,
} from "../../proto/gen/arrwdb/v1/jobs.ts";
import { LibraryServiceService } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { eventually } from "../support/eventually.ts";

/** A gateway of a few handlers, which can be killed and started again on its port. */
class FakeGateway {
  readonly port: number;
  readonly #handlers: UntypedServiceImplementation;
  #server: Server | undefined;

  constructor(port: number, handlers: UntypedServiceImplementation) {
    this.port = port;
    this.#handlers = handlers;
  }

  async start(): Promise<void> {
    const server = new Server();
    server.addService(JobServiceService, this.#handlers);
    server.addService(LibraryServiceService, this.#handlers);
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${this.port}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      );
    });
    this.#server = server;
  }

  /** Connections break, as in a SIGKILL. */
  kill(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
  }
}

async function start(
  t: TestContext,
  handlers: UntypedServiceImplementation,
): Promise<{ gateway: FakeGateway; client: ArrwClient }> {
  const gateway = new FakeGateway(await freePort("127.0.0.1"), handlers);
  await gateway.start();
  const client = new ArrwClient({ address: `127.0.0.1:${gateway.port}`, timeoutMs: 10_000 });
  t.after(() => {
    client.close();
    gateway.kill();
  });
  return { gateway, client };
}

type Answer = (error: Partial<ServiceError> | null, response?: unknown) => void;
type UnaryCall<Q> = ServerUnaryCall<Q, unknown>;
const unavailable = { code: status.UNAVAILABLE, details: "not now" };

test("a submit is repeated on UNAVAILABLE with the same request_id", async (t) => {
  const seen: string[] = [];
  const { client } = await start(t, {
    submitJob: ({ request }: UnaryCall<SubmitJobRequest>, answer: Answer) => {
      seen.push(request.requestId);
      if (seen.length < 3) answer(unavailable);
      else answer(null, { job: Job.fromPartial({ jobId: "j", requestId: request.requestId }) });
    },
  });
  const job = await client.submit({ spec: { spec: { $case: "echo", value: {} } } });
  assert.equal(seen.length, 3);
  assert.match(job.requestId, /^[0-9a-f-]{36}$/);
  assert.equal(new Set(seen).size, 1);
  assert.equal((await client.submit({ requestId: "mine" })).requestId, "mine");
});

test("a call ends at its deadline, with the last error", async (t) => {
  const { client } = await start(t, {
    getJob: (_call: UnaryCall<unknown>, answer: Answer) => answer(unavailable),
  });
  const began = performance.now();
  await assert.rejects(client.get("j", { timeoutMs: 400 }), { name: "ClientError", code: "UNAVAILABLE" });
  assert.ok(performance.now() - began < 2_000);
});

test("another error is not repeated; an aborted call is CANCELLED", async (t) => {
  let calls = 0;
  const { client } = await start(t, {
    getJob: ({ request }: UnaryCall<{ jobId: string }>, answer: Answer) => {
      calls += 1;
      if (request.jobId !== "slow") answer({ code: status.INTERNAL, details: "broken" });
    },
  });
  await assert.rejects(client.get("j"), { code: "INTERNAL", message: "broken" });
  assert.equal(calls, 1);
  const abort = new AbortController();
  const slow = client.get("slow", { signal: abort.signal });
  setImmediate(() => abort.abort());
  await assert.rejects(slow, { code: "CANCELLED" });
});

test("a deletion whose reply was lost succeeds when it is repeated", async (t) => {
  let calls = 0;
  const { client } = await start(t, {
    deleteLibrary: (_call: UnaryCall<unknown>, answer: Answer) => {
      calls += 1;
      answer(calls === 1 ? unavailable : { code: status.NOT_FOUND, details: "gone" });
    },
  });
  await client.deleteLibrary("docs");
  await assert.rejects(client.deleteLibrary("docs"), { code: "NOT_FOUND" });
});

test("connect fails at once when nothing listens", async (t) => {
  const client = new ArrwClient({ address: `127.0.0.1:${await freePort("127.0.0.1")}` });
  t.after(() => client.close());
  const began = performance.now();
  await assert.rejects(client.connect(), { code: "UNAVAILABLE" });
  assert.ok(performance.now() - began < 2_000);
});

type WatchCall = ServerWritableStream<WatchJobRequest, WatchJobResponse>;
const revision = (number: number, state: JobStatus = JobStatus.JOB_STATUS_RUNNING): { job: JobMessage } => ({
  job: Job.fromPartial({ jobId: "j", revision: number, status: state }),
});

test("a watch goes on behind the last revision when the gateway is killed, until the terminal state", async (t) => {
  const asked: bigint[] = [];
  const { gateway, client } = await start(t, {
    watchJob: (call: WatchCall) => {
      asked.push(call.request.afterRevision);
      if (asked.length === 1) {
        call.write(revision(1));
        call.write(revision(2));
      } else if (asked.length === 2) call.emit("error", unavailable);
      else {
        call.write(revision(3));
        call.write(revision(4, JobStatus.JOB_STATUS_COMPLETED));
        call.end();
      }
    },
  });
  const seen: number[] = [];
  let interruptions = 0;
  const onInterrupted = (): void => {
    interruptions += 1;
  };
  for await (const job of client.watch("j", { onInterrupted })) {
    seen.push(Number(job.revision));
    if (job.revision !== 2n) continue;
    gateway.kill();
    await gateway.start();
  }
  assert.deepEqual(seen, [1, 2, 3, 4]);
  assert.deepEqual(asked.slice(0, 3), [0n, 2n, 2n]);
  assert.ok(interruptions >= 2);
});

test("a watch gives up when the gateway stays away; what the server refuses is not tried again", async (t) => {
  const { gateway, client } = await start(t, {
    watchJob: (call: WatchCall) => {
      if (call.request.jobId === "none")
        call.emit("error", { code: status.NOT_FOUND, details: "no such job" });
      else call.write(revision(1));
    },
  });
  await assert.rejects(client.wait("none"), { code: "NOT_FOUND" });
  const watch = client.watch("j", { reconnectTimeoutMs: 300 });
  assert.equal((await watch.next()).value?.revision, 1n);
  gateway.kill();
  await assert.rejects(watch.next(), { code: "UNAVAILABLE" });
});

test("leaving a watch, and aborting it, end the call on the server", async (t) => {
  let open = 0;
  const { client } = await start(t, {
    watchJob: (call: WatchCall) => {
      open += 1;
      call.on("cancelled", () => {
        open -= 1;
      });
      call.write(revision(1));
    },
  });
  for await (const _ of client.watch("j")) break;
  await eventually(() => open === 0);
  const abort = new AbortController();
  const watch = client.watch("j", { signal: abort.signal });
  await watch.next();
  abort.abort();
  await assert.rejects(watch.next(), { code: "CANCELLED" });
  await eventually(() => open === 0);
});

type ImportCall = ServerReadableStream<ImportDocumentsRequest, unknown>;

test("an import sends one header and every document, from any iterable", async (t) => {
  const received: ImportDocumentsRequest[] = [];
  const { client } = await start(t, {
    importDocuments: (call: ImportCall, answer: Answer) => {
      call.on("data", (message: ImportDocumentsRequest) => received.push(message));
      call.on("end", () => answer(null, { job: Job.fromPartial({ jobId: "j" }) }));
    },
  });
  const sent: number[] = [];
  const documents = [{ texts: ["a"] }, { texts: ["b"] }];
  const onSent = (count: number): number => sent.push(count);
  const job = await client.importDocuments("lib", documents, { chunkSize: 7, chunkOverlap: 0, onSent });
  assert.equal(job.jobId, "j");
  assert.deepEqual(sent, [1, 2]);
  const [header, ...rest] = received.map(({ message }) => message);
  assert.equal(header?.$case, "header");
  if (header?.$case !== "header") return;
  assert.equal(header.value.libraryId, "lib");
  assert.notEqual(header.value.requestId, "");
  const spec = header.value.spec?.spec;
  assert.ok(spec?.$case === "batchImport" && spec.value.chunkSize === 7 && spec.value.chunkOverlap === 0);
  assert.deepEqual(
    rest.map((message) => (message?.$case === "document" ? message.value.texts : undefined)),
    [["a"], ["b"]],
  );
});

test("a slow server holds the source back", async (t) => {
  let read: (() => void) | undefined;
  const { client } = await start(t, {
    importDocuments: (call: ImportCall, answer: Answer) => {
      call.pause();
      read = () => {
        call.on("end", () => answer(null, { job: Job.fromPartial({ jobId: "j" }) }));
        call.resume();
      };
    },
  });
  const total = 2_000;
  let taken = 0;
  function* documents(): Generator<DocumentInput> {
    for (; taken < total; taken++) yield { texts: ["x".repeat(10_000)] };
  }
  const imported = client.importDocuments("lib", documents());
  let before = -1;
  // Held back: nothing more is taken for a while, long before the end.
  await eventually(
    () => {
      const still = taken === before && taken > 0;
      before = taken;
      return still;
    },
    { intervalMs: 200 },
  );
  assert.ok(taken < total / 2, `${taken} of ${total} documents were taken`);
  read?.();
  assert.equal((await imported).jobId, "j");
  assert.equal(taken, total);
});

test("the server's error ends an import whose source waits, and lets go of the source", async (t) => {
  const { client } = await start(t, {
    importDocuments: (_call: ImportCall, answer: Answer) => {
      answer({ code: status.NOT_FOUND, details: "no such library" });
    },
  });
  let returned = false;
  const endless: AsyncIterable<DocumentInput> = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise(() => undefined),
      return: async () => {
        returned = true;
        return { done: true, value: undefined };
      },
    }),
  };
  await assert.rejects(client.importDocuments("lib", endless), { code: "NOT_FOUND" });
  assert.ok(returned);
});

test("what a source throws ends the import, and the server hears of it", async (t) => {
  let cancelled = false;
  let onData = (): void => undefined;
  const arrived = new Promise<void>((resolve) => {
    onData = resolve;
  });
  const { client } = await start(t, {
    importDocuments: (call: ImportCall) => {
      call.on("cancelled", () => {
        cancelled = true;
      });
      call.on("error", () => undefined);
      call.on("data", onData);
    },
  });
  async function* broken(): AsyncGenerator<DocumentInput> {
    yield { texts: ["a"] };
    await arrived;
    throw new Error("the disk is gone");
  }
  await assert.rejects(client.importDocuments("lib", broken()), /the disk is gone/);
  await eventually(() => cancelled);
});

test("a closed client says so", async (t) => {
  const { client } = await start(t, {});
  client.close();
  await assert.rejects(client.stats({ timeoutMs: 300 }), (error) => error instanceof ClientError);
});

test("a log that is followed goes on behind its last line, through breaks and a restart", async (t) => {
  const requests: string[] = [];
  const line = (n: number) => ({
    at: new Date(),
    level: "info",
    attempt: 1,
    line: `line ${n}`,
    cursor: `${n}`,
  });
  const { gateway, client } = await start(t, {
    getJobLogs: (call: ServerWritableStream<GetJobLogsRequest, GetJobLogsResponse>) => {
      const { afterCursor, follow } = call.request;
      requests.push(`${afterCursor} ${follow}`);
      const from = Number(afterCursor) + 1;
      if (from > 4) {
        call.write(line(from));
        call.end();
        return;
      }
      call.write(line(from));
      call.write(line(from + 1));
      if (requests.length === 1) call.emit("error", unavailable);
    },
  });
  const seen: string[] = [];
  const interrupted: string[] = [];
  const onInterrupted = ({ code }: ClientError): void => void interrupted.push(code);
  for await (const { line } of client.jobLogs("j", { follow: true, onInterrupted })) {
    seen.push(line);
    if (seen.length !== 4) continue;
    gateway.kill();
    await gateway.start();
  }
  assert.deepEqual(seen, ["line 1", "line 2", "line 3", "line 4", "line 5"]);
  assert.deepEqual(requests, [" true", "2 true", "4 true"]);
  assert.equal(interrupted[0], "UNAVAILABLE");
  assert.ok(interrupted.length >= 2);
});

test("a log that is not followed has the client's time-out; leaving it ends the call", async (t) => {
  let open = 0;
  const { client } = await start(t, {
    getJobLogs: (call: ServerWritableStream<GetJobLogsRequest, GetJobLogsResponse>) => {
      open += 1;
      call.on("cancelled", () => {
        open -= 1;
      });
      call.write({ at: new Date(), level: "info", attempt: 1, line: "a", cursor: "1" });
    },
  });
  const stuck = async (): Promise<void> => {
    for await (const _ of client.jobLogs("j", { timeoutMs: 300 }));
  };
  await assert.rejects(stuck(), { code: "DEADLINE_EXCEEDED" });
  for await (const { line } of client.jobLogs("j", { follow: true })) {
    assert.equal(line, "a");
    break;
  }
  await eventually(() => open === 0);
});

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { ArrwError } from "../../../platform/errors.ts";
import { connect } from "../../../platform/grpc/client.ts";
import { GrpcServer, implement } from "../../../platform/grpc/server.ts";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { ObjectId, Stream, Subject } from "../../../platform/nats/names.ts";
import { PART_BYTES } from "../../../platform/nats/object-parts.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { ensureStreams } from "../../../platform/nats/streams.ts";
import {
  ExportServiceClient,
  ExportServiceService,
  OpenExportResponse,
} from "../../../proto/gen/arrwdb/index/v1/exports.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { BatchExportSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { Library } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { encodeExportCheckpoint } from "../../../services/worker/domain/export-checkpoint.ts";
import type { JobContext, LeasedJob } from "../../../services/worker/handler.ts";
import { BatchExport } from "../../../services/worker/handlers/batch-export.ts";
import { startTestNats } from "../../support/nats.ts";
import type { Cleanup } from "../../support/temp.ts";
import { reversed } from "./harness.ts";

const JOB_ID = "job";
const PAGES = 12;

/** An index with one export: pages of 300 kB, each pin with a text of its own. */
class FakeExports {
  pin = 0n;
  #pins = 0n;
  /** Awaited before each page. */
  beforePage: (after: string) => Promise<void> = async () => undefined;

  async start(t: Cleanup): Promise<ExportServiceClient> {
    const server = new GrpcServer({
      host: "127.0.0.1",
      port: 0,
      services: [this.#service()],
      log: silentLog(),
      registry: createRegistry("fake-exports"),
      maxReceiveBytes: 64 * 1024 * 1024,
      defaultTimeoutMs: 10_000,
    });
    await server.start();
    t.after(() => server.stop());
    const client = connect(ExportServiceClient, `127.0.0.1:${server.port}`);
    t.after(() => client.close());
    return client;
  }

  #service() {
    return implement(ExportServiceService, {
      openExport: async () => {
        if (this.pin === 0n) {
          this.#pins += 1n;
          this.pin = this.#pins;
        }
        return OpenExportResponse.fromPartial({ pin: this.pin, documents: BigInt(PAGES) });
      },
      readExport: async ({ pin, after }) => {
        await this.beforePage(after);
        if (pin !== this.pin) throw new ArrwError("NOT_FOUND", "gone", { reason: "EXPORT_NOT_FOUND" });
        const number = after === "" ? 0 : Number(after) + 1;
        if (number >= PAGES) return { documents: [] };
        const texts = [`pin ${pin} `.repeat(50_000)];
        return { documents: [Document.fromPartial({ documentId: String(number), texts })] };
      },
      closeExport: async ({ pin }) => {
        if (pin === 0n || pin === this.pin) this.pin = 0n;
        return {};
      },
    });
  }
}

async function start(test: Cleanup) {
  const t = reversed(test);
  const server = await startTestNats(t);
  const nats = new Nats({ url: server.url, name: "test", log: silentLog() });
  await nats.start();
  t.after(() => nats.stop());
  await ensureStreams(nats, { journalMaxBytes: 2 ** 24, objectsMaxBytes: 2 ** 28, replicas: 1 });
  const exports = new FakeExports();
  const objects = new JetStreamObjects(nats);
  const handler = new BatchExport({ exports: await exports.start(t), objects, retentionMs: 60_000 });
  return { nats, objects, exports, handler };
}

function leased(lease: bigint, checkpoint: Uint8Array = new Uint8Array()): LeasedJob<"batchExport"> {
  return {
    jobId: JOB_ID,
    lease,
    attempt: 1,
    leasesBefore: Number(lease) - 1,
    createdAt: new Date(0),
    run: 1,
    failedItemsOnly: false,
    spec: BatchExportSpec.fromPartial({ format: "ndjson" }),
    payloadObject: "",
    itemCount: 0,
    checkpoint,
    library: { library: Library.fromPartial({ libraryId: "library" }), embeddingId: "" },
    libraries: [],
  };
}

function context(signal: AbortSignal = new AbortController().signal): JobContext {
  const silent = (): void => undefined;
  return {
    signal,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    progress: silent,
    checkpoint: async () => undefined,
  };
}

async function sha256Of(objects: JetStreamObjects, lease: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of objects.read(ObjectId.export(JOB_ID), 0, lease)) hash.update(part);
  return hash.digest("hex");
}

test("an attempt that was given up leaves the file alone that its successor has made of both their parts", async (t) => {
  const { objects, exports, handler } = await start(t);
  let stopped: () => void = () => undefined;
  const standsStill = new Promise<void>((resolve) => {
    stopped = resolve;
  });
  let goOn: () => void = () => undefined;
  const mayGoOn = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  exports.beforePage = async (after) => {
    if (after !== "8") return;
    stopped();
    await mayGoOn;
  };
  const first = handler.run(leased(1n), context());
  await standsStill;
  exports.beforePage = async () => undefined;
  // Where the first attempt's checkpoint was: part 0 is its own.
  const { length } =
    `${JSON.stringify({ document_id: "0", title: "", texts: ["pin 1 ".repeat(50_000)], author: "", tags: [], source_url: "" })}\n`;
  const documents = Math.floor(PART_BYTES / length) + 1;
  const from = {
    pin: 1,
    after: String(documents - 1),
    documents,
    chunks: documents,
    sizeBytes: documents * length,
    pieces: [{ writer: "1", fromPart: 0 }],
  };
  const result = await handler.run(leased(2n, encodeExportCheckpoint(from)), context());
  assert.ok("sha256" in result);
  assert.equal(await sha256Of(objects, "2"), result.sha256);
  assert.equal(exports.pin, 0n);

  goOn();
  const other = await first;
  assert.ok("sha256" in other && other.sha256 !== result.sha256, "it started over with another pin");
  assert.equal(await sha256Of(objects, "1"), other.sha256);
  assert.equal(await sha256Of(objects, "2"), result.sha256);
});

test("an attempt without a checkpoint removes what earlier ones wrote, and nothing of later ones", async (t) => {
  const { nats, handler, objects } = await start(t);
  for (const writer of ["1", "1-2", "3"]) {
    const file = await objects.writer({ objectId: ObjectId.export(JOB_ID), writer });
    await file.write(Buffer.alloc(PART_BYTES + 1));
    await file.finish();
  }
  await handler.run(leased(2n), context());
  const subjects = await nats.streamSubjects(Stream.objects, Subject.objectAll(ObjectId.export(JOB_ID)));
  const writers = new Set(Object.keys(subjects).map((subject) => subject.split(".")[4]));
  assert.deepEqual([...writers].sort(), ["2", "3"]);
});

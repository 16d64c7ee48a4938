import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { PART_BYTES } from "../../../platform/nats/object-parts.ts";
import { OpenExportResponse } from "../../../proto/gen/arrwdb/index/v1/exports.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import {
  decodeExportCheckpoint,
  type ExportCheckpoint,
} from "../../../services/worker/domain/export-checkpoint.ts";
import type { JobContext } from "../../../services/worker/handler.ts";
import { ExportFile, type ExportFileWriter } from "../../../services/worker/handlers/export-file.ts";
import { ExportRun } from "../../../services/worker/handlers/export-run.ts";

const PAGES = 24;
const PAGE_DOCUMENTS = 100;
const idOf = (n: number): string => String(n).padStart(6, "0");

/** Keeps whole parts at once. */
class MemoryFile implements ExportFileWriter {
  readonly pieces = [{ writer: "1", fromPart: 0 }];
  #bytes = Buffer.alloc(0);

  get bytes(): Buffer {
    return this.#bytes;
  }

  get sizeBytes(): number {
    return this.#bytes.length;
  }

  get storedBytes(): number {
    return this.#bytes.length - (this.#bytes.length % PART_BYTES);
  }

  async write(data: Uint8Array): Promise<void> {
    this.#bytes = Buffer.concat([this.#bytes, data]);
  }

  async finish() {
    const sha256 = createHash("sha256").update(this.#bytes).digest("hex");
    return { sizeBytes: this.#bytes.length, parts: 0, partBytes: PART_BYTES, sha256 };
  }

  async settled(): Promise<void> {}
}

/** Pages of about 700 KB that compress badly; what each was asked with goes to `letGo`. */
function sourceOf(letGo: string[]) {
  return {
    letGo: "",
    async *pages(_pin: bigint, after: string): AsyncGenerator<Document[]> {
      for (let page = after === "" ? 0 : (Number(after) + 1) / PAGE_DOCUMENTS; page < PAGES; page++) {
        letGo.push(this.letGo);
        yield Array.from({ length: PAGE_DOCUMENTS }, (_, n) =>
          Document.fromPartial({
            documentId: idOf(page * PAGE_DOCUMENTS + n),
            texts: [randomBytes(5_000).toString("base64")],
          }),
        );
      }
    },
  };
}

function contextOf(saved: ExportCheckpoint[]): JobContext {
  const silent = (): void => undefined;
  return {
    signal: new AbortController().signal,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    progress: silent,
    checkpoint: async (data) => {
      const decoded = decodeExportCheckpoint(data);
      assert.ok(decoded);
      saved.push(decoded);
    },
  };
}

for (const gzip of [false, true]) {
  test(`checkpoints and what is let go of follow the ${gzip ? "gzip" : "plain"} file`, async (t) => {
    let nowMs = 0;
    t.mock.method(performance, "now", () => {
      nowMs += 1_000;
      return nowMs;
    });
    const saved: ExportCheckpoint[] = [];
    const letGo: string[] = [];
    const writer = new MemoryFile();
    const run = new ExportRun({
      source: sourceOf(letGo),
      file: new ExportFile(writer, gzip),
      format: "ndjson",
      withVectors: false,
      pinned: OpenExportResponse.fromPartial({ pin: 5n }),
      context: contextOf(saved),
    });
    await run.toTheEnd(undefined);
    assert.ok(saved.length >= PAGES / 4, `${saved.length} checkpoints of ${PAGES} pages`);
    const last = saved.at(-1);
    assert.ok(last && last.documents > (PAGES * PAGE_DOCUMENTS) / 2, `the last one at ${last?.documents}`);
    assert.ok(new Set(letGo).size >= PAGES / 4, `let go ${new Set(letGo).size} times`);
    for (const { sizeBytes, documents, after } of saved) {
      const before = writer.bytes.subarray(0, sizeBytes);
      const lines = (gzip ? gunzipSync(before) : before).toString().split("\n");
      assert.equal(lines.length - 1, documents);
      assert.equal((JSON.parse(lines.at(-2) ?? "") as { document_id: string }).document_id, after);
    }
  });
}

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Manifest } from "../../../platform/nats/object-parts.ts";
import type { OpenExportResponse } from "../../../proto/gen/arrwdb/index/v1/exports.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { MAX_DOCUMENT_BYTES } from "../domain/document.ts";
import { type ExportCheckpoint, encodeExportCheckpoint } from "../domain/export-checkpoint.ts";
import type { JobContext } from "../handler.ts";
import type { ExportFile } from "./export-file.ts";
import { type ExportFormatName, exportFormat } from "./export-formats.ts";
import type { ExportSource } from "./export-source.ts";
import { oneAhead } from "./one-ahead.ts";

export interface ExportRunOptions {
  readonly source: Pick<ExportSource, "pages" | "letGo">;
  readonly file: ExportFile;
  readonly format: ExportFormatName;
  readonly withVectors: boolean;
  readonly pinned: OpenExportResponse;
  readonly context: JobContext;
}

const CHECKPOINT_MS = 1_000;
/** Let others run after this long. */
const YIELD_MS = 10;
/** Documents too large for an import that the log names. */
const MAX_LOGGED = 20;

/** From the first document, or where a checkpoint was, to the end of the file. */
export class ExportRun {
  readonly #options: ExportRunOptions;
  /** Places to go on from, oldest first; which of them are durable, the file tells. */
  readonly #marks: ExportCheckpoint[] = [];
  #reached: ExportCheckpoint | undefined;
  #checkpointAtMs = performance.now();
  #documents = 0;
  #chunks = 0;
  #tooLarge = 0;

  constructor(options: ExportRunOptions) {
    this.#options = options;
  }

  get documents(): number {
    return this.#documents;
  }

  get chunks(): number {
    return this.#chunks;
  }

  /** "1,200 documents, 4.2 MB" */
  get text(): string {
    const { file } = this.#options;
    const megabytes = (Math.max(file.sizeBytes ?? 0, file.storedBytes) / 1e6).toFixed(1);
    return `${this.#documents.toLocaleString("en-US")} documents, ${megabytes} MB`;
  }

  async toTheEnd(from: ExportCheckpoint | undefined): Promise<Manifest> {
    const { source, file, format: name, withVectors, pinned, context } = this.#options;
    const format = exportFormat(name, withVectors);
    this.#documents = from?.documents ?? 0;
    this.#chunks = from?.chunks ?? 0;
    source.letGo = from?.after ?? "";
    try {
      if (!from) await file.write(format.head);
      const pages = source.pages(pinned.pin, source.letGo);
      for await (const page of oneAhead(pages, context.signal)) {
        let breathedAtMs = performance.now();
        for (const document of page) {
          await file.write(format.document(document, this.#documents === 0));
          this.#count(document);
          if (performance.now() - breathedAtMs < YIELD_MS) continue;
          await nextTurn();
          breathedAtMs = performance.now();
          context.signal.throwIfAborted();
        }
        await file.endLargeMember();
        this.#mark(page.at(-1)?.documentId ?? "");
        this.#report();
        await this.#checkpoint();
      }
      await file.write(format.tail);
      return await file.finish();
    } catch (error) {
      // Stopping saves how far it came.
      if (context.signal.aborted) void this.#save()?.catch(() => undefined);
      throw error;
    }
  }

  #count(document: Document): void {
    this.#documents += 1;
    this.#chunks += document.texts.length;
    if (this.#options.format === "csv" || !isTooLarge(document)) return;
    this.#tooLarge += 1;
    if (this.#tooLarge > MAX_LOGGED) return;
    const bound = MAX_DOCUMENT_BYTES.toLocaleString("en-US");
    const text = `a document with its chunks and vectors is above ${bound} bytes: it can't be imported again whole`;
    this.#options.context.log.warn({ document_id: document.documentId }, text);
  }

  #mark(after: string): void {
    const { file, pinned } = this.#options;
    const { sizeBytes, pieces } = file;
    if (sizeBytes === undefined) return;
    const counts = { documents: this.#documents, chunks: this.#chunks };
    this.#marks.push({ pin: Number(pinned.pin), after, ...counts, sizeBytes, pieces });
    while (this.#marks[0] && this.#marks[0].sizeBytes <= file.storedBytes)
      this.#reached = this.#marks.shift();
  }

  #report(): void {
    const { pinned, context } = this.#options;
    context.progress({ current: this.#documents, total: Number(pinned.documents), message: this.text });
  }

  async #checkpoint(): Promise<void> {
    if (!this.#reached || performance.now() - this.#checkpointAtMs < CHECKPOINT_MS) return;
    const { after } = this.#reached;
    await this.#save();
    this.#checkpointAtMs = performance.now();
    this.#options.source.letGo = after;
  }

  #save(): Promise<void> | undefined {
    const reached = this.#reached;
    this.#reached = undefined;
    return reached && this.#options.context.checkpoint(encodeExportCheckpoint(reached));
  }
}

/** Most are far below: only the others are measured. */
function isTooLarge(document: Document): boolean {
  const { texts, vectors } = document;
  const characters = texts.reduce((sum, text) => sum + text.length, 0);
  const bytes = vectors.reduce((sum, { packed }) => sum + packed.length, 0);
  if (3 * characters + bytes + 200_000 < MAX_DOCUMENT_BYTES) return false;
  return Document.encode(document).finish().length > MAX_DOCUMENT_BYTES;
}

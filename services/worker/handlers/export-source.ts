import { ArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import type { ExportServiceClient, OpenExportResponse } from "../../../proto/gen/arrwdb/index/v1/exports.ts";
import type { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { whileUnavailable } from "../retry.ts";

export interface ExportSourceOptions {
  readonly exports: ExportServiceClient;
  readonly libraryId: string;
  readonly exportId: string;
  readonly includeVectors: boolean;
  readonly signal: AbortSignal;
}

const CALL_TIMEOUT_MS = 30_000;
/** The index may be restarting. */
const INDEX_FOR_MS = 60_000;
const CLOSE_TIMEOUT_MS = 2_000;
/** The index drops an export that nobody calls for 2 minutes. */
const KEEP_ALIVE_MS = 20_000;

/** The library as it was when it was pinned, page by page. */
export class ExportSource {
  readonly #options: ExportSourceOptions;
  /** Documents up to this id are in the file for good. */
  letGo = "";
  /** The pin that was opened last; 0 = none. */
  #pin = 0n;

  constructor(options: ExportSourceOptions) {
    this.#options = options;
  }

  /** Pins the library, or finds the pin there is. @throws ArrwError */
  async open(): Promise<OpenExportResponse> {
    const opened = await this.#open();
    this.#pin = opened.pin;
    return opened;
  }

  /** Documents behind `after`. @throws ArrwError EXPORT_NOT_FOUND when the pin is gone */
  async *pages(pin: bigint, after: string): AsyncGenerator<Document[]> {
    const { exports, libraryId, exportId, includeVectors } = this.#options;
    for (let last = after; ; ) {
      const page = { libraryId, exportId, includeVectors, pin, after: last, letGo: this.letGo };
      const { documents } = await this.#repeated((call) => unary(exports, exports.readExport, page, call));
      const end = documents.at(-1);
      if (!end) return;
      last = end.documentId;
      yield documents;
    }
  }

  /** Best effort: the index drops it in the end. A pin that another attempt has opened since stays. */
  async close(): Promise<void> {
    const { exports, libraryId, exportId } = this.#options;
    const call = { timeoutMs: CLOSE_TIMEOUT_MS };
    await unary(exports, exports.closeExport, { libraryId, exportId, pin: this.#pin }, call).catch(
      () => undefined,
    );
  }

  /** The pin stays while the work takes its time. */
  async keptAlive<T>(work: Promise<T>): Promise<T> {
    const timer = setInterval(() => void this.#open().catch(() => undefined), KEEP_ALIVE_MS);
    try {
      return await work;
    } finally {
      clearInterval(timer);
    }
  }

  #open(): Promise<OpenExportResponse> {
    const { exports, libraryId, exportId } = this.#options;
    return this.#repeated((call) => unary(exports, exports.openExport, { libraryId, exportId }, call));
  }

  #repeated<T>(run: (call: { timeoutMs: number; signal: AbortSignal }) => Promise<T>): Promise<T> {
    const { signal } = this.#options;
    return whileUnavailable(() => run({ timeoutMs: CALL_TIMEOUT_MS, signal }), {
      forMs: INDEX_FOR_MS,
      signal,
    });
  }
}

/** The library can't be read any more as it was pinned. */
export function exportGone(why: string): ArrwError {
  return new ArrwError("NOT_FOUND", why, { reason: "EXPORT_NOT_FOUND" });
}

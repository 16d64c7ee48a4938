import { type ImplementedService, implement } from "../../platform/grpc/server.ts";
import { ExportServiceService } from "../../proto/gen/arrwdb/index/v1/exports.ts";
import { MAX_DOCUMENT_ID_BYTES } from "./document-scan.ts";
import type { Libraries } from "./libraries.ts";
import { Checks } from "./validate.ts";

const MAX_EXPORT_ID_BYTES = 256;

/** The gRPC face of exports. */
export function exportService(libraries: Libraries): ImplementedService {
  return implement(ExportServiceService, {
    openExport: async ({ libraryId, exportId }) => {
      const checks = new Checks();
      checkExportId(exportId, checks);
      checks.done();
      return libraries.use(libraryId, async (library) => {
        const row = await library.exports.open(exportId, Date.now());
        return {
          documents: BigInt(row.documents),
          chunks: BigInt(row.chunks),
          generation: BigInt(row.generation),
          embedding: { ...row.embedding },
          at: new Date(row.atMs),
          pin: BigInt(row.pin),
        };
      });
    },
    readExport: async ({ libraryId, exportId, after, includeVectors, pin, letGo }) => {
      const checks = new Checks();
      checkExportId(exportId, checks);
      checkPosition("after", after, checks);
      checkPosition("let_go", letGo, checks);
      const isBehind = Buffer.compare(Buffer.from(letGo), Buffer.from(after)) > 0;
      checks.that(!isBehind, "let_go", "at most after");
      checks.done();
      const page = { exportId, after, letGo, includeVectors, pin: Number(pin) };
      return libraries.use(libraryId, async (library) => ({ documents: await library.exports.read(page) }));
    },
    closeExport: async ({ libraryId, exportId, pin }) => {
      const checks = new Checks();
      checkExportId(exportId, checks);
      checks.done();
      return libraries.use(libraryId, async (library) => {
        await library.exports.close(exportId, pin === 0n ? undefined : Number(pin));
        return {};
      });
    },
  });
}

function checkExportId(exportId: string, checks: Checks): void {
  const bytes = Buffer.byteLength(exportId);
  checks.that(bytes >= 1 && bytes <= MAX_EXPORT_ID_BYTES, "export_id", `1..256 bytes, got ${bytes}`);
}

function checkPosition(field: string, value: string, checks: Checks): void {
  const bytes = Buffer.byteLength(value);
  checks.that(bytes <= MAX_DOCUMENT_ID_BYTES, field, `at most ${MAX_DOCUMENT_ID_BYTES} bytes, got ${bytes}`);
}

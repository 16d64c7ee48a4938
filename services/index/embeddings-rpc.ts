import { TEXT_HASH_BYTES } from "../../platform/embedding/text-hash.ts";
import { type ImplementedService, implement } from "../../platform/grpc/server.ts";
import { Counter, type Registry } from "../../platform/metrics.ts";
import { EmbeddingServiceService } from "../../proto/gen/arrwdb/index/v1/embeddings.ts";
import { splitHashes } from "./embeddings.ts";
import type { Libraries } from "./libraries.ts";
import { Checks } from "./validate.ts";

const MAX_HASHES = 4_096;
/** Leaves room below the limit of a message; what is beyond it isn't found. */
const MAX_VECTOR_BYTES = 32 * 1024 * 1024;

/** arrwdb.index.v1.EmbeddingService. */
export function embeddingService(libraries: Libraries, registry: Registry): ImplementedService {
  const lookups = new Counter({
    name: "arrw_index_embedding_lookups_total",
    help: "Texts looked up by their hash, by whether their vector was there",
    labelNames: ["found"],
    registers: [registry],
  });
  return implement(EmbeddingServiceService, {
    lookupEmbeddings: async ({ libraryId, embeddingId, hashes }) => {
      libraries.resolve(libraryId);
      const checks = new Checks();
      const whole = hashes.length % TEXT_HASH_BYTES === 0 && hashes.length <= MAX_HASHES * TEXT_HASH_BYTES;
      const bounds = `at most ${MAX_HASHES} hashes of ${TEXT_HASH_BYTES} bytes`;
      checks.that(whole, "hashes", `${bounds}, got ${hashes.length} bytes`);
      checks.done();
      const asked = splitHashes(hashes);
      const known = await libraries.use(libraryId, async (library) =>
        library.embeddings(embeddingId, asked, MAX_VECTOR_BYTES),
      );
      const found = [...known.keys()];
      lookups.inc({ found: "true" }, found.length);
      lookups.inc({ found: "false" }, asked.length - found.length);
      return { found, vectors: Buffer.concat([...known.values()]) };
    },
  });
}

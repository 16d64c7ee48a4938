import assert from "node:assert/strict";
import { test } from "node:test";
import { ArrwError } from "../../../platform/errors.ts";
import { Build } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import { BuildEmbedder } from "../../../services/worker/handlers/build-embedder.ts";

const DIMENSIONS = 4;

test("a provider that takes no calls for an hour is waited for, and each text is given to it until it is taken", async () => {
  const pauses: number[] = [];
  const told: string[] = [];
  const written: bigint[] = [];
  let refusals = 2;
  const embedder = new BuildEmbedder({
    session: {
      readChunks: async (afterKey) => {
        const chunks = afterKey === 0n ? [{ key: 1n, text: "tea", vector: Buffer.alloc(0) }] : [];
        return { chunks, throughKey: 1n };
      },
      writeVectors: async ({ throughKey }) => {
        written.push(throughKey);
        return Build.fromPartial({});
      },
    },
    provider: {
      dimensions: DIMENSIONS,
      paid: true,
      embed: async () => assert.fail("texts may be refused one by one"),
      embedEach: async (texts) => {
        if (refusals-- > 0) {
          const limit = { reason: "EMBEDDING_RATE_LIMITED", retryAfterMs: 3_000_000 };
          throw new ArrwError("RESOURCE_EXHAUSTED", "too many calls", limit);
        }
        return { rows: new Float32Array(texts.length * DIMENSIONS), refused: new Map() };
      },
    },
    pageChunks: 10,
    signal: new AbortController().signal,
    onWritten: () => undefined,
    wait: async (ms) => void pauses.push(ms),
    onWaiting: (why) => void told.push(why),
  });
  await embedder.bringAll();
  assert.deepEqual(pauses, [3_000_000, 3_000_000]);
  assert.deepEqual(told, ["too many calls", "too many calls"]);
  assert.deepEqual(written, [1n]);
});

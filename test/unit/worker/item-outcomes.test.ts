import assert from "node:assert/strict";
import { test } from "node:test";
import { ITEMS_PER_PART, type ItemsNats, itemsParts } from "../../../platform/nats/job-items.ts";
import { ItemOutcomes } from "../../../services/worker/item-outcomes.ts";

/** Objects in memory; appends to subjects that end so are refused for good. */
function memoryNats(refused: string): ItemsNats {
  const messages = new Map<string, { sequence: number; data: Uint8Array }>();
  let sequence = 0;
  return {
    getMessage: async (_stream, { lastBySubject: subject = "" }: { lastBySubject?: string }) => {
      const found = messages.get(subject);
      return found && { ...found, subject, timeMs: 0 };
    },
    append: async (subject, data) => {
      if (subject.endsWith(refused)) throw new Error("refused");
      sequence += 1;
      messages.set(subject, { sequence, data });
      return sequence;
    },
    purge: async () => messages.clear(),
  } as ItemsNats;
}

test("outcomes have no gap, also when a part in their middle can't be stored", async () => {
  const nats = memoryNats(".1");
  const options = { nats, jobId: "job", lease: 1n, signal: AbortSignal.timeout(50) };
  const outcomes = Array.from({ length: 3 * ITEMS_PER_PART }, (_, ordinal) => ({
    ordinal,
    documentId: `doc-${ordinal}`,
    title: "",
    outcome: "ok" as const,
    error: undefined,
    chunks: 1,
  }));
  await assert.rejects(new ItemOutcomes(options).put(outcomes));
  const parts = [];
  for await (const { number } of itemsParts(nats, "job", 0)) parts.push(number);
  assert.deepEqual(parts, [0]);
  const beyond = await nats.getMessage("OBJECTS", { lastBySubject: "arrw.object.job-items.2" });
  assert.equal(beyond, undefined, "nothing is stored behind the gap");
});

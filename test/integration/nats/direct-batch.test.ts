import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { startTestNats } from "../../support/nats.ts";
import { reversed } from "../../support/reversed.ts";

const STREAM = "NUMBERS";
const SUBJECT = "test.numbers";

test("many messages for one request, bounded by count and bytes; what was removed is passed over", async (test) => {
  const t = reversed(test);
  const server = await startTestNats(t);
  const nats = new Nats({ url: server.url, name: "test", log: silentLog() });
  await nats.start();
  t.after(() => nats.stop());
  await nats.ensureStream({ name: STREAM, subjects: [SUBJECT], maxBytes: 16 * 1024 * 1024, replicas: 1 });
  const read = (from: number, maxMessages = 100, maxBytes = 1024 * 1024) =>
    nats.getBatch(STREAM, { subject: SUBJECT, from, maxMessages, maxBytes });
  assert.deepEqual(await read(1), []);
  const data = (n: number): Buffer => Buffer.alloc(1_000, n);
  for (let n = 1; n <= 200; n++) await nats.append(SUBJECT, data(n), { timeoutMs: 5_000 });

  const some = await read(5);
  assert.deepEqual(
    some.map(({ sequence }) => sequence),
    Array.from({ length: 100 }, (_, n) => 5 + n),
  );
  assert.ok(some.every((message) => data(message.sequence).equals(message.data)));
  const rest = await read(191);
  assert.deepEqual([rest.length, rest[0]?.sequence, rest.at(-1)?.sequence], [10, 191, 200]);
  assert.deepEqual(await read(201), []);

  const few = await read(1, 100, 10_000);
  assert.ok(few.length >= 1 && few.length <= 11, `${few.length}`);
  assert.equal((await read(1, 100, 1)).length, 1);

  await nats.purge(STREAM, { below: 50 });
  assert.equal((await read(1))[0]?.sequence, 50);
  await server.kill();
  await assert.rejects(read(60), { code: "UNAVAILABLE" });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, headers } from "nats";
import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestNats } from "../../support/nats.ts";
import { reversed } from "../../support/reversed.ts";

const STREAM = "FOLLOWED";
const PLAIN = { name: STREAM, subjects: ["test.item.>"], maxBytes: 16 * 1024 * 1024, replicas: 1 };
const SPEC = { ...PLAIN, feed: "test.feed.>" };
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);

test("what was stored and what comes, once and in order, over restarts and removals", async (test) => {
  const t = reversed(test);
  const server = await startTestNats(t);
  const nats = new Nats({ url: server.url, name: "test", log: silentLog() });
  await nats.start();
  t.after(() => nats.stop());
  // A stream of an earlier version gets its feed when it is looked at again.
  await nats.ensureStream(PLAIN);
  const append = (n: number) =>
    eventually(() => nats.append(`test.item.${n % 3}`, Buffer.from(String(n)), { timeoutMs: 2_000 }), {
      timeoutMs: 20_000,
    });
  for (const n of numbers(1, 11)) await append(n);
  await nats.ensureStream(SPEC);

  const seen: number[] = [];
  const follow = nats.follow({
    stream: STREAM,
    subject: "test.item.>",
    feed: "test.feed.>",
    fromSequence: 4,
    onMessage: ({ sequence, subject, data }) => {
      assert.equal(Buffer.from(data).toString(), String(sequence));
      assert.equal(subject, `test.item.${sequence % 3}`);
      seen.push(sequence);
    },
  });
  await follow.start();
  t.after(() => follow.stop());
  assert.deepEqual(seen, numbers(4, 11), "all that is stored has come when it has started");
  await Promise.all(numbers(11, 12).map(append));
  for (const n of numbers(12, 500)) await append(n);
  await eventually(() => seen.length === 496);

  await server.kill();
  await server.restart();
  for (const n of numbers(500, 520)) await append(n);
  await eventually(() => seen.length === 516, { timeoutMs: 20_000 });
  assert.deepEqual(seen, numbers(4, 520));
});

test("what a feed did not bring is read from the stream; what is gone is passed over", async (test) => {
  const t = reversed(test);
  const server = await startTestNats(t);
  const nats = new Nats({ url: server.url, name: "test", log: silentLog() });
  await nats.start();
  t.after(() => nats.stop());
  await nats.ensureStream(PLAIN);
  const seen: number[] = [];
  const follow = nats.follow({
    stream: STREAM,
    subject: "test.item.>",
    feed: "test.feed.>",
    fromSequence: 1,
    onMessage: ({ sequence }) => seen.push(sequence),
  });
  await follow.start();
  t.after(() => follow.stop());
  const append = (n: number) => nats.append("test.item.a", Buffer.from(String(n)), { timeoutMs: 5_000 });
  // The stream has no feed: a look every few seconds finds them.
  for (const n of numbers(1, 6)) await append(n);
  await eventually(() => seen.length === 5);
  for (const n of numbers(6, 21)) await append(n);
  await nats.purge(STREAM, { below: 11 });
  await nats.ensureStream(SPEC);
  await append(21);
  await eventually(() => seen.at(-1) === 21);
  assert.deepEqual(seen.slice(0, 5), [1, 2, 3, 4, 5]);
  assert.deepEqual(seen.slice(-11), numbers(11, 22));
  assert.equal(new Set(seen).size, seen.length);
});

test("who publishes a message does not say which one it is; what was removed from the end is passed over", async (test) => {
  const t = reversed(test);
  const server = await startTestNats(t);
  const nats = new Nats({ url: server.url, name: "test", log: silentLog() });
  await nats.start();
  t.after(() => nats.stop());
  const foreign = await connect({ servers: server.url });
  t.after(() => foreign.close());
  await nats.ensureStream(SPEC);
  const append = (item: string) => nats.append(`test.item.${item}`, new Uint8Array(), { timeoutMs: 5_000 });
  const pretend = async (): Promise<void> => {
    const fields = headers();
    fields.append("Nats-Sequence", "900");
    fields.append("Nats-Subject", "test.item.other");
    await foreign.jetstream().publish("test.item.a", "", { headers: fields });
  };
  await append("a");
  await pretend();
  await append("b");
  await nats.purge(STREAM, { subject: "test.item.b" });

  const seen: [number, string][] = [];
  const follow = nats.follow({
    stream: STREAM,
    subject: "test.item.>",
    feed: "test.feed.>",
    fromSequence: 1,
    onMessage: ({ sequence, subject }) => seen.push([sequence, subject]),
  });
  await follow.start();
  t.after(() => follow.stop());
  await pretend();
  await append("c");
  await eventually(() => seen.length >= 4);
  assert.deepEqual(seen, [
    [1, "test.item.a"],
    [2, "test.item.a"],
    [4, "test.item.a"],
    [5, "test.item.c"],
  ]);
  assert.equal((await nats.getMessage(STREAM, { lastBySubject: "test.item.a" }))?.sequence, 4);
});

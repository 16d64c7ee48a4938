import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { Stream, Subject } from "../../../platform/nats/names.ts";
import type { ObjectWriter } from "../../../platform/nats/object-writer.ts";
import { JetStreamObjects, PART_BYTES } from "../../../platform/nats/objects.ts";
import { ensureStreams } from "../../../platform/nats/streams.ts";
import { startTestNats } from "../../support/nats.ts";
import type { Cleanup } from "../../support/temp.ts";

async function start(t: Cleanup) {
  const server = await startTestNats();
  const nats = new Nats({ url: server.url, name: "test", log: silentLog() });
  t.after(async () => {
    await nats.stop();
    await server.stop();
  });
  await nats.start();
  await ensureStreams(nats, { journalMaxBytes: 2 ** 24, objectsMaxBytes: 2 ** 28, replicas: 1 });
  return { nats, objects: new JetStreamObjects(nats) };
}

const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

async function bytesOf(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function writeAll(writer: ObjectWriter, data: Uint8Array, step: number): Promise<void> {
  for (let at = 0; at < data.length; at += step) await writer.write(data.subarray(at, at + step));
}

test("one writer's object, read from anywhere", async (t) => {
  const { objects } = await start(t);
  const data = randomBytes(3 * PART_BYTES + 1_234);
  const writer = await objects.writer({ objectId: "o", writer: "1" });
  await writeAll(writer, data, 100_000);
  assert.equal(writer.sizeBytes, data.length);
  assert.equal(await objects.manifest("o", "1"), undefined);
  const manifest = await writer.finish();
  assert.deepEqual([manifest.sizeBytes, manifest.parts, manifest.sha256], [data.length, 4, sha256(data)]);
  assert.deepEqual(await objects.manifest("o", "1"), manifest);
  for (const offset of [0, 1, PART_BYTES - 1, PART_BYTES, data.length - 1, data.length]) {
    const read = await bytesOf(objects.read("o", offset, "1"));
    assert.ok(read.equals(data.subarray(offset)), `from byte ${offset}`);
  }
});

test("an empty object", async (t) => {
  const { objects } = await start(t);
  const manifest = await (await objects.writer({ objectId: "o", writer: "1" })).finish();
  assert.deepEqual([manifest.sizeBytes, manifest.sha256], [0, sha256(new Uint8Array())]);
  assert.equal((await bytesOf(objects.read("o", 0, "1"))).length, 0);
});

test("later writers go on where earlier ones were, who can't spoil what they write", async (t) => {
  const { nats, objects } = await start(t);
  const data = randomBytes(12 * PART_BYTES + 77);
  const first = await objects.writer({ objectId: "o", writer: "1" });
  await writeAll(first, data.subarray(0, 10 * PART_BYTES + 5), 300_000);
  // Of those in flight it is not known whether they are stored.
  assert.ok(
    first.storedBytes >= 2 * PART_BYTES && first.storedBytes <= 10 * PART_BYTES,
    `${first.storedBytes}`,
  );
  const from = { sizeBytes: 2 * PART_BYTES - 1_000, pieces: first.pieces };

  const second = await objects.writer({ objectId: "o", writer: "2", from });
  await writeAll(second, data.subarray(from.sizeBytes, 7 * PART_BYTES + 9), 77_777);
  await second.settled();
  const at = { sizeBytes: 6 * PART_BYTES, pieces: second.pieces };
  const third = await objects.writer({ objectId: "o", writer: "3", from: at });
  await writeAll(third, data.subarray(at.sizeBytes), 1_000_000);
  // Who was given up goes on with something else, and finishes.
  await writeAll(first, randomBytes(5 * PART_BYTES), PART_BYTES);
  await first.finish();
  const manifest = await third.finish();
  assert.deepEqual(manifest.pieces, [
    { writer: "1", fromPart: 0 },
    { writer: "2", fromPart: 1 },
    { writer: "3", fromPart: 6 },
  ]);
  assert.equal(manifest.sha256, sha256(data));
  assert.ok((await bytesOf(objects.read("o", 0, "3"))).equals(data));
  assert.ok((await bytesOf(objects.read("o", PART_BYTES - 3, "3"))).equals(data.subarray(PART_BYTES - 3)));

  await objects.remove("o");
  assert.deepEqual(await nats.streamSubjects(Stream.objects, Subject.objects), {});
  await assert.rejects(objects.writer({ objectId: "o", writer: "4", from: at }), { code: "DATA_LOSS" });
});

test("an append is repeated the way its writer's owner says, and a failure is met", async (t) => {
  const { objects } = await start(t);
  let appends = 0;
  const data = randomBytes(2 * PART_BYTES);
  const persist = async (append: () => Promise<void>): Promise<void> => {
    appends += 1;
    await append();
    await append();
  };
  const twice = await objects.writer({ objectId: "twice", writer: "1", persist });
  await writeAll(twice, data, PART_BYTES);
  assert.equal((await twice.finish()).sha256, sha256(data));
  assert.ok((await bytesOf(objects.read("twice", 0, "1"))).equals(data));
  assert.equal(appends, 3);

  const failing = async (): Promise<void> => {
    throw new Error("no room");
  };
  const never = await objects.writer({ objectId: "never", writer: "1", persist: failing });
  await never.write(data);
  assert.equal(never.storedBytes, 0);
  await assert.rejects(never.finish(), /no room/);
  await never.settled();
});

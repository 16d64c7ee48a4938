import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { headers, type Msg, type NatsConnection } from "nats";
import { silentLog } from "../../../platform/log.ts";
import { directBatch, type StoredMessage } from "../../../platform/nats/direct-batch.ts";
import { Follow } from "../../../platform/nats/follow.ts";
import type { StreamInfo } from "../../../platform/nats/stream-calls.ts";

type Callback = (error: null, message: Msg) => void;

const turn = () => new Promise((resolve) => setImmediate(resolve));
const stored = (sequence: number): StoredMessage => ({ sequence, subject: "a", data: new Uint8Array() });
const state = (firstSequence: number, lastSequence: number, messages: number): StreamInfo => ({
  firstSequence,
  lastSequence,
  messages,
  bytes: 0,
  createdAt: "",
});

function sent(sequence: number, lastSequence?: number): Msg {
  const fields = headers();
  fields.append("Nats-Sequence", String(sequence));
  fields.append("Nats-Subject", "a");
  fields.append("Nats-Num-Pending", "9");
  if (lastSequence !== undefined) fields.append("Nats-Last-Sequence", String(lastSequence));
  return { headers: fields, data: new Uint8Array() } as Msg;
}

interface FakeStream {
  info: () => Promise<StreamInfo>;
  batch: (from: number) => StoredMessage[];
}

async function following(t: TestContext, stream: FakeStream) {
  const seen: number[] = [];
  let onFeed: Callback = () => undefined;
  let onReconnect = (): void => undefined;
  const connection = {
    subscribe: (_: string, { callback }: { callback: Callback }) => {
      onFeed = callback;
      return { unsubscribe: () => undefined };
    },
    flush: async () => undefined,
  } as unknown as NatsConnection;
  const source = {
    connection,
    log: silentLog(),
    batch: async (_: string, { from }: { from: number }) => stream.batch(from),
    info: () => stream.info(),
    onReconnect: (listener: () => void) => {
      onReconnect = listener;
      return () => undefined;
    },
  };
  const onMessage = ({ sequence }: StoredMessage): void => void seen.push(sequence);
  const follow = new Follow(source, { stream: "S", subject: "a", feed: "f", fromSequence: 1, onMessage });
  t.after(() => follow.stop());
  await follow.start();
  return { seen, feed: (sequence: number) => onFeed(null, sent(sequence)), reconnect: () => onReconnect() };
}

test("a question that was lost with the link holds nothing up when the link is back", async (t) => {
  const stream: FakeStream = { info: async () => state(1, 0, 0), batch: (from) => [stored(from)] };
  const { seen, feed, reconnect } = await following(t, stream);
  let answer: (info: StreamInfo) => void = () => undefined;
  stream.info = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  feed(2);
  await turn();
  stream.info = async () => state(1, 3, 3);
  reconnect();
  await turn();
  assert.deepEqual(seen, [1, 2, 3]);
  feed(4);
  answer(state(1, 2, 2));
  await turn();
  feed(5);
  assert.deepEqual(seen, [1, 2, 3, 4, 5]);
});

test("what was heard of and isn't there is looked for once", async (t) => {
  let looks = 0;
  const info = async () => {
    looks += 1;
    await turn();
    return state(1, 1, 1);
  };
  const { seen, feed } = await following(t, { info, batch: (from) => (from === 1 ? [stored(1)] : []) });
  feed(900);
  for (let n = 0; n < 50; n++) await turn();
  assert.ok(looks <= 4, `${looks} looks`);
  feed(2);
  assert.deepEqual(seen, [1, 2]);
});

test("messages that are missing among those of an answer make it fail", async () => {
  let onAnswer: Callback = () => undefined;
  const connection = {
    subscribe: (_: string, { callback }: { callback: Callback }) => {
      onAnswer = callback;
      return { unsubscribe: () => undefined };
    },
    publish: () => undefined,
  } as unknown as NatsConnection;
  const range = { subject: "a", from: 3, maxMessages: 10, maxBytes: 1_000 };
  const reading = directBatch(connection, "api", range, 1_000);
  onAnswer(null, sent(3, 0));
  onAnswer(null, sent(5, 3));
  onAnswer(null, sent(8, 7));
  onAnswer(null, { headers: headers(204, "EOB"), data: new Uint8Array() } as Msg);
  await assert.rejects(reading, { code: "UNAVAILABLE" });
});

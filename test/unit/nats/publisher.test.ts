import assert from "node:assert/strict";
import { test } from "node:test";
import type { MsgHdrs, NatsConnection } from "nats";
import { type AppendOptions, Publisher } from "../../../platform/nats/publisher.ts";

test("each expectation of an append is sent, also when it is the only one", async (t) => {
  const sent: string[][] = [];
  const connection = {
    subscribe: () => ({ unsubscribe: () => undefined }),
    publish: (_subject: string, _data: Uint8Array, { headers }: { headers?: MsgHdrs }) => {
      sent.push([...(headers ?? [])].map(([name, [value]]) => `${name}: ${value}`));
    },
  };
  const publisher = new Publisher(connection as unknown as NatsConnection);
  t.after(() => publisher.close());
  const expected: [Omit<AppendOptions, "timeoutMs">, string[]][] = [
    [{}, []],
    [{ expectedLastSequence: 7 }, ["Nats-Expected-Last-Sequence: 7"]],
    [{ expectedLastSubjectSequence: 0 }, ["Nats-Expected-Last-Subject-Sequence: 0"]],
    [{ messageId: "1.8" }, ["Nats-Msg-Id: 1.8"]],
    [{ expectedLastMessageId: "1.7" }, ["Nats-Expected-Last-Msg-Id: 1.7"]],
  ];
  for (const [options, headers] of expected) {
    publisher.append("subject", new Uint8Array(), { timeoutMs: 1_000, ...options }).catch(() => undefined);
    assert.deepEqual(sent.at(-1), headers);
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Msg } from "nats";
import { busMessage } from "../../../platform/nats/bus.ts";

test("answers go to inboxes, and to those of other accounts, alone", () => {
  const answered: (string | undefined)[] = [];
  const answer = (reply: string | undefined): boolean => {
    const respond = () => answered.push(reply) > 0;
    const message = { subject: "s", data: new Uint8Array(), reply, respond } as unknown as Msg;
    return busMessage(message).respond(new Uint8Array());
  };
  for (const reply of ["_INBOX.abc.1", "_R_.xyz"]) assert.ok(answer(reply));
  const refused = [
    undefined,
    "",
    "$KV.ARRW_LEADER.leader",
    "arrw.journal",
    "$JS.API.STREAM.PURGE.JOURNAL",
    "_INBOXES.a",
  ];
  for (const reply of refused) assert.ok(!answer(reply), reply);
  assert.deepEqual(answered, ["_INBOX.abc.1", "_R_.xyz"]);
});

import assert from "node:assert/strict";
import { EventEmitter, getEventListeners } from "node:events";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { FastifyRequest } from "fastify";
import { HttpCalls } from "../../../../services/gateway/http/calls.ts";

function call() {
  const state = { closed: false, writableFinished: false };
  const response = Object.assign(new EventEmitter(), state);
  const request = { headers: {}, raw: { socket: { remoteAddress: "127.0.0.1" } } };
  const close = (): void => {
    response.closed = true;
    response.emit("close");
  };
  const calls = new HttpCalls(60_000);
  calls.track(request as unknown as FastifyRequest, response as unknown as ServerResponse);
  const contextOf = () => calls.contextOf(request as unknown as FastifyRequest);
  return { calls, close, contextOf };
}

test("a call whose client goes is aborted, and leaves nothing behind", () => {
  const { calls, close, contextOf } = call();
  const { signal } = contextOf();
  assert.equal(signal.aborted, false);
  close();
  assert.equal(signal.reason.code, "CANCELLED");
  assert.equal(getEventListeners(calls.stopping, "abort").length, 0);
});

test("so is one whose client has gone before it begins", () => {
  const { calls, close, contextOf } = call();
  close();
  assert.equal(contextOf().signal.reason?.code, "CANCELLED");
  assert.equal(getEventListeners(calls.stopping, "abort").length, 0);
});

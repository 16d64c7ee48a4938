import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Metadata, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { type CallRuntime, implement } from "../../../platform/grpc/calls.ts";
import { Outgoing } from "../../../platform/grpc/outgoing.ts";
import { Overdue } from "../../../platform/grpc/overdue.ts";
import { silentLog } from "../../../platform/log.ts";
import { ServerReflectionService } from "../../../proto/gen/grpc/reflection/v1/reflection.ts";

const RUNTIME: CallRuntime = {
  log: silentLog(),
  running: new Set(),
  stopping: () => undefined,
  defaultTimeoutMs: 1_000,
  complete: (error) => error,
  observe: () => undefined,
};

/** A bidirectional call as grpc-js gives it to its handler. */
class FakeCall extends Duplex {
  readonly metadata = new Metadata();

  constructor() {
    super({ objectMode: true });
  }

  override _read(): void {}

  override _write(_message: unknown, _encoding: string, done: () => void): void {
    done();
  }

  getDeadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  getPeer(): string {
    return "127.0.0.1:1";
  }

  getAuthContext(): object {
    return {};
  }
}

test("a bidirectional call keeps none of the messages that its handler has dealt with", async () => {
  const kept: WeakRef<object>[] = [];
  let dealt = 0;
  const { bind } = implement(ServerReflectionService, {
    serverReflectionInfo: async function* (requests) {
      for await (const request of requests) {
        kept.push(new WeakRef(request));
        dealt += 1;
      }
      yield* [];
    },
  });
  const call = new FakeCall();
  const { serverReflectionInfo } = bind(RUNTIME) as UntypedServiceImplementation;
  (serverReflectionInfo as unknown as (call: FakeCall) => void)(call);
  for (let index = 0; index < 50; index++) {
    call.push({ host: "", bytes: Buffer.alloc(1_000), index });
    await turn();
  }
  assert.equal(dealt, 50);
  setFlagsFromString("--expose-gc");
  const gc: () => void = runInNewContext("gc");
  gc();
  await turn();
  gc();
  const left = kept.filter((each) => each.deref() !== undefined);
  assert.ok(left.length <= 2, `${left.length} are kept`);
  call.emit("cancelled");
  await turn();
  assert.equal(RUNTIME.running.size, 0);
});

test("messages wait when 16, or a mebibyte of them, were not taken", async () => {
  for (const [bytes, most] of [
    [10, 16],
    [200_000, 6],
  ] as const) {
    const taken: (() => void)[] = [];
    const write = (_message: Buffer, done: () => void): boolean => taken.push(done) < 16;
    const abort = new AbortController();
    const outgoing = new Outgoing({ write }, abort.signal);
    let written = 1;
    while (!outgoing.write(Buffer.alloc(bytes))) written += 1;
    assert.equal(written, most);
    let room = false;
    void outgoing.room().then(() => {
      room = true;
    });
    await turn();
    assert.equal(room, false);
    taken.shift()?.();
    await turn();
    assert.equal(room, true);
    outgoing.write(Buffer.alloc(bytes));
    const ended = outgoing.room();
    abort.abort();
    await ended;
  }
});

test("what is overdue is given once, what is done or gone never", () => {
  class Thing extends EventEmitter {
    destroyed = false;
  }
  const overdue: Thing[] = [];
  const all = new Overdue<Thing>(100, (thing) => overdue.push(thing));
  const [late, done, gone, young] = [new Thing(), new Thing(), new Thing(), new Thing()];
  for (const each of [late, done, gone]) all.begin(each, 0);
  all.begin(young, 50);
  all.done(done);
  gone.destroyed = true;
  all.sweep(100);
  all.sweep(120);
  assert.deepEqual(overdue, [late]);
  assert.equal(all.has(young), true);
});

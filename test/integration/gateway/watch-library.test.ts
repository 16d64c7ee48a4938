import assert from "node:assert/strict";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { ArrwClient, type LibraryEvent } from "../../../client/index.ts";
import { freePort } from "../../../platform/free-port.ts";
import { startArrw } from "../../support/arrw.ts";
import { eventually } from "../../support/eventually.ts";
import { startGateway } from "../../support/gateway.ts";
import { type IndexProcess, startIndexProcess } from "../../support/index-process.ts";
import { documentUpsert, libraryRequest, seededVector, TestLibrary } from "../../support/index-service.ts";
import { startTestNats } from "../../support/nats.ts";
import { tempDir } from "../../support/temp.ts";
import { WatchedLibrary } from "../../support/watched-library.ts";

const DIMENSIONS = 4;
const document = (id: string) => documentUpsert(id, [seededVector(1, DIMENSIONS)]);
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** A gateway, and an index that can be killed and started again at its address. */
async function system(t: TestContext) {
  const folder = await tempDir(t);
  const port = await freePort();
  let index: IndexProcess | undefined;
  const start = async (): Promise<IndexProcess> => {
    index = await startIndexProcess(folder, {
      ARRW_INDEX_GRPC_PORT: String(port),
      ARRW_LOG_LEVEL: "warn",
    });
    return index;
  };
  const kill = async (): Promise<void> => {
    await index?.kill("SIGKILL");
    index = undefined;
  };
  t.after(kill);
  await start();
  const nats = await startTestNats(t);
  const gateway = await startGateway(t, {
    natsUrl: nats.url,
    schedulers: ["127.0.0.1:1"],
    index: `127.0.0.1:${port}`,
  });
  const client = new ArrwClient({ address: gateway.address });
  t.after(() => client.close());
  const watch = (libraryId: string, afterCursor = ""): WatchedLibrary => {
    const { libraries } = gateway;
    const watched = new WatchedLibrary(libraries, libraries.watchLibrary, libraryId, afterCursor);
    t.after(() => watched.stop());
    return watched;
  };
  const library = async (id: string): Promise<TestLibrary> => {
    assert.ok(index);
    return TestLibrary.create(index.client, libraryRequest(id, DIMENSIONS, { name: `name-of-${id}` }));
  };
  return { gateway, client, watch, library, start, kill };
}

test("a watch through the gateway tells what the index tells, and why it can't", async (t) => {
  const { client, watch, library } = await system(t);
  const docs = await library("docs");
  const watches = await Promise.all(upTo(20).map((i) => watch(i % 2 ? "docs" : "name-of-docs").started()));
  await docs.upsert([document("a"), document("b")]);
  await docs.delete(["a"]);
  for (const watched of watches) {
    await watched.count(3);
    assert.deepEqual(watched.told, ["upserted a", "upserted b", "deleted a"]);
  }
  const foreign = watch("docs", "bm9uc2Vuc2U");
  await foreign.ended;
  assert.equal(foreign.error?.code, "INVALID_ARGUMENT");
  assert.equal(foreign.error.violations[0]?.field, "after_cursor");
  for (const libraryId of ["", "nowhere", "no spaces"]) {
    const unknown = watch(libraryId);
    await unknown.ended;
    assert.equal(unknown.error?.reason, "LIBRARY_NOT_FOUND");
  }
  await client.deleteLibrary("docs");
  for (const watched of watches) {
    await watched.ended;
    assert.equal(watched.error?.reason, "LIBRARY_NOT_FOUND");
  }
});

test("when the index is killed watches end with UNAVAILABLE, and the client's goes on without a gap", async (t) => {
  const { client, watch, library, start, kill } = await system(t);
  let docs = await library("docs");
  const plain = await watch("docs").started();
  const abort = new AbortController();
  const events: LibraryEvent[] = [];
  let interruptions = 0;
  let started = "";
  const watching = (async () => {
    const options = {
      signal: abort.signal,
      onStarted: (cursor: string) => {
        started = cursor;
      },
      onInterrupted: () => {
        interruptions += 1;
      },
    };
    for await (const event of client.watchLibrary("docs", options)) events.push(event);
  })();
  await eventually(() => started !== "");
  await docs.upsert([document("a"), document("b")]);
  await eventually(() => events.length === 2);
  await kill();
  await plain.ended;
  assert.equal(plain.error?.code, "UNAVAILABLE");
  await eventually(() => interruptions > 0);
  await start();
  docs = await library("docs");
  await docs.delete(["a"]);
  await docs.upsert([document("c")]);
  await eventually(() => events.length === 4);
  const told = events.map(({ event, documentId }) => `${event} ${documentId}`);
  const expected = [
    "document.upserted a",
    "document.upserted b",
    "document.deleted a",
    "document.upserted c",
  ];
  assert.deepEqual(told, expected);
  abort.abort();
  await assert.rejects(watching, { code: "CANCELLED" });
  await client.deleteLibrary("docs");
  await assert.rejects(client.watchLibrary("docs").next(), { reason: "LIBRARY_NOT_FOUND" });
});

test("arrw library watch shows a line per event, as text and as JSON, behind a cursor", async (t) => {
  const { gateway, client, watch, library } = await system(t);
  const docs = await library("docs");
  const { start } = await watch("docs").started();
  await docs.upsert([document("a\u001b[2J")]);
  await docs.delete(["a\u001b[2J"]);
  const lines = async (args: readonly string[], count: number): Promise<string[]> => {
    const child = startArrw(gateway.address, ["library", "watch", ...args]);
    t.after(() => child.kill("SIGKILL"));
    const ended = once(child, "close");
    const found: string[] = [];
    assert.ok(child.stdout);
    for await (const line of createInterface({ input: child.stdout })) {
      if (found.push(line) === count) break;
    }
    child.kill("SIGINT");
    assert.deepEqual(await ended, [130, null]);
    return found;
  };
  const text = await lines(["name-of-docs", "--after", start], 2);
  assert.deepEqual(
    text.map((line) => line.replace(/^\S+ \S+ +/, "").replace(/ +/g, " ")),
    ["upserted a [2J", "deleted a [2J"],
  );
  const [first] = await lines(["docs", "--after", start, "--json"], 1);
  const event = JSON.parse(first ?? "") as Record<string, unknown>;
  assert.deepEqual(Object.keys(event), ["cursor", "event", "at", "document_id", "generation"]);
  assert.deepEqual(
    [event.event, event.document_id, event.generation],
    ["document.upserted", "a\u001b[2J", 1],
  );
  const [second] = await lines(["docs", "--after", String(event.cursor), "--json"], 1);
  assert.match(second ?? "", /"document.deleted"/);
  assert.equal((await client.getLibrary("docs")).libraryId, "docs");
});

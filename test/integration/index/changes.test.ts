import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { open } from "lmdb";
import { connect, serverStream, unary } from "../../../platform/grpc/client.ts";
import {
  ChangeServiceClient,
  type WatchChangesResponse,
} from "../../../proto/gen/arrwdb/index/v1/changes.ts";
import { openStore } from "../../../services/index/store.ts";
import { eventually } from "../../support/eventually.ts";
import { TestBuilds } from "../../support/index-builds.ts";
import {
  documentUpsert,
  type IndexServiceOptions,
  libraryRequest,
  seededVector,
  startIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import { tempDir } from "../../support/temp.ts";
import { WatchedLibrary } from "../../support/watched-library.ts";

const call = { timeoutMs: 10_000 };
const DIMENSIONS = 4;
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const document = (id: string) => documentUpsert(id, [seededVector(1, DIMENSIONS)]);
/** Documents with the longest ids there are, whose events soon fill what a connection holds. */
const longId = (i: number): string => String(i).padStart(512, "x");

async function service(t: TestContext, options: IndexServiceOptions = {}) {
  const started = await startIndexService(options);
  const changes = connect(ChangeServiceClient, started.address);
  const watches: WatchedLibrary[] = [];
  const aborts: AbortController[] = [];
  let stopped = false;
  const stop = async (): Promise<void> => {
    if (stopped) return;
    stopped = true;
    for (const each of watches) await each.stop();
    for (const each of aborts) each.abort();
    changes.close();
    await started.stop({ keep: options.folder !== undefined });
  };
  t.after(stop);
  const watch = (libraryId: string, afterCursor = ""): WatchedLibrary => {
    const watched = new WatchedLibrary(changes, changes.watchChanges, libraryId, afterCursor);
    watches.push(watched);
    return watched;
  };
  /** Reads no further than it is asked to. */
  const iterate = (libraryId: string): AsyncGenerator<WatchChangesResponse> => {
    const abort = new AbortController();
    aborts.push(abort);
    const request = { libraryId, afterCursor: "" };
    return serverStream(changes, changes.watchChanges, request, { unbounded: true, signal: abort.signal });
  };
  const library = (id: string) => TestLibrary.create(started.client, libraryRequest(id, DIMENSIONS));
  return { ...started, watch, iterate, library, stop };
}

test("a watch tells every document that is written or deleted, in order; each cursor resumes behind it", async (t) => {
  const { library, watch } = await service(t);
  const docs = await library("docs");
  await docs.upsert([document("before")]);
  const watched = await watch("docs").started();
  await docs.upsert([document("a"), document("b"), document("a")]);
  await docs.delete(["b", "nobody", "before", "b"]);
  await docs.upsert([document("b")]);
  await docs.delete(["nobody"]);
  await watched.count(5);
  const expected = ["upserted a", "upserted b", "deleted b", "deleted before", "upserted b"];
  assert.deepEqual(watched.told, expected);
  for (const { at, generation } of watched.events) {
    assert.equal(generation, 1n);
    assert.ok(Math.abs(Date.now() - (at?.getTime() ?? 0)) < 60_000);
  }
  for (const [i, { cursor }] of watched.events.entries()) {
    const resumed = watch("docs", cursor);
    await resumed.count(expected.length - i - 1);
    assert.deepEqual(resumed.told, expected.slice(i + 1));
    await resumed.stop();
  }
  const again = watch("docs", watched.start);
  await again.count(5);
  await docs.upsert([document("last")]);
  await again.count(6);
  assert.deepEqual(again.told, [...expected, "upserted last"]);
});

test("a swap and a rollback are told at once, with the generation that is live then", async (t) => {
  const { client, address, library, watch } = await service(t);
  const docs = await library("docs");
  await docs.upsert([document("a")]);
  const watched = await watch("docs").started();
  const builds = new TestBuilds(t, client, address, "docs");
  await builds.rebuild("job");
  await watched.count(1);
  await builds.rollback();
  await watched.count(2);
  await docs.upsert([document("b")]);
  await watched.count(3);
  assert.deepEqual(
    watched.events.map(({ event, documentId, generation }) => [event, documentId, generation]),
    [
      ["generation.swapped", "", 2n],
      ["generation.rolled_back", "", 1n],
      ["document.upserted", "b", 1n],
    ],
  );
});

test("what is no cursor of this library is INVALID_ARGUMENT, also one of its namesake before", async (t) => {
  const { client, library, watch } = await service(t);
  const docs = await library("docs");
  const other = await library("other");
  const first = await watch("docs").started();
  await docs.upsert([document("a")]);
  await other.upsert([document("a")]);
  await first.count(1);
  const ahead = Buffer.from(Buffer.from(first.start, "base64url").toString().replace(/:1:0$/, ":9:0"));
  const cursors = [first.start, "nonsense", "x".repeat(5_000), ahead.toString("base64url")];
  const refused = async (libraryId: string, cursor: string): Promise<void> => {
    const watched = watch(libraryId, cursor);
    await watched.ended;
    assert.equal(watched.error?.code, "INVALID_ARGUMENT", cursor.slice(0, 60));
    assert.deepEqual(watched.error.violations, [
      { field: "after_cursor", description: "not a cursor of this library" },
    ]);
  };
  for (const cursor of cursors) await refused("other", cursor);
  await unary(client, client.deleteLibrary, { libraryId: "docs" }, call);
  await library("docs");
  await refused("docs", first.start);
});

test("a deleted library ends its watches with NOT_FOUND, at once and when it is made again", async (t) => {
  const { client, library, watch } = await service(t);
  await library("docs");
  const watches = await Promise.all(upTo(3).map(() => watch("docs").started()));
  await unary(client, client.deleteLibrary, { libraryId: "docs" }, call);
  const again = await library("docs");
  await again.upsert([document("a")]);
  for (const watched of watches) {
    await watched.ended;
    assert.equal(watched.error?.reason, "LIBRARY_NOT_FOUND");
    assert.deepEqual(watched.told, []);
  }
  const unknown = watch("nowhere");
  await unknown.ended;
  assert.equal(unknown.error?.reason, "LIBRARY_NOT_FOUND");
});

test("of a library's events the newest stay; a cursor below them is told the oldest that holds", async (t) => {
  const { folder, library, watch } = await service(t, { watchEvents: 100 });
  const docs = await library("docs");
  const watched = await watch("docs").started();
  for (const i of upTo(500)) await docs.upsert([document(`d${i}`)]);
  await watched.count(500);
  assert.deepEqual(
    watched.told,
    upTo(500).map((i) => `upserted d${i}`),
  );
  // Read only: a second writer in this process would wait for the first one's transaction, which needs this very thread.
  const env = open({ path: join(folder, "libraries", "1", "store"), readOnly: true, maxDbs: 32 });
  const kept = [...env.openDB({ name: "events" }).getKeys()];
  await env.close();
  assert.ok(kept.length >= 100 && kept.length <= 101, `${kept.length} rows kept`);
  const expired = watch("docs", watched.start);
  await expired.ended;
  assert.equal(expired.error?.code, "OUT_OF_RANGE");
  assert.equal(expired.error.reason, "CURSOR_EXPIRED");
  const rest = watch("docs", expired.error.metadata.oldest_cursor);
  await rest.count(kept.length);
  assert.deepEqual(rest.told, watched.told.slice(-kept.length));
});

test("a library that an older version wrote has events from now on", async (t) => {
  const folder = await tempDir(t);
  const before = await service(t, { folder });
  const old = await before.library("docs");
  await old.upsert([document("a")]);
  const { start } = await before.watch("docs").started();
  await before.stop();
  const store = openStore(join(folder, "libraries", "1", "store"));
  await store.events.clearAsync();
  await store.env.close();
  const { library, watch } = await service(t, { folder });
  const docs = await library("docs");
  const watched = await watch("docs", start).count(0);
  await docs.upsert([document("b")]);
  await watched.count(1);
  assert.deepEqual(watched.told, ["upserted b"]);
});

test("watched libraries are closed like others, and still tell what happens", async (t) => {
  const { libraries, library, watch } = await service(t, { maxOpen: 2 });
  const all = [];
  for (const i of upTo(8)) {
    const each = await library(`l${i}`);
    all.push({ library: each, watched: await watch(`l${i}`).started() });
  }
  assert.ok(libraries.totals.open <= 2, `${libraries.totals.open} open`);
  for (const round of upTo(3)) {
    for (const each of all) await each.library.upsert([document(`d${round}`)]);
  }
  for (const { watched } of all) {
    await watched.count(3);
    assert.deepEqual(watched.told, ["upserted d0", "upserted d1", "upserted d2"]);
  }
  await eventually(() => libraries.totals.open <= 2);
});

test("a client that doesn't read makes its own watch wait, and then gets all of it", async (t) => {
  const { library, watch, iterate } = await service(t);
  const docs = await library("docs");
  const slow = iterate("docs");
  const { value: start } = await slow.next();
  const batches = upTo(40);
  for (const batch of batches) await docs.upsert(upTo(250).map((i) => document(longId(batch * 250 + i))));
  const quick = await watch("docs", start.cursor).count(10_000);
  assert.equal(quick.events.length, 10_000);
  for (const i of upTo(10_000)) {
    const { value } = await slow.next();
    assert.equal(value.documentId, longId(i));
  }
});

test("a client that doesn't read for longer than events are kept is told so", async (t) => {
  const { library, iterate } = await service(t, { watchEvents: 500 });
  const docs = await library("docs");
  const slow = iterate("docs");
  await slow.next();
  for (const batch of upTo(12)) await docs.upsert(upTo(250).map((i) => document(longId(batch * 250 + i))));
  let received = 0;
  const reading = async (): Promise<void> => {
    for (let next = await slow.next(); !next.done; next = await slow.next()) received += 1;
  };
  await assert.rejects(reading(), { code: "OUT_OF_RANGE", reason: "CURSOR_EXPIRED" });
  // What waited in buffers, and the page that the service had in its hands.
  assert.ok(received <= 1_500, `${received} events`);
});

test("writers side by side and watchers that come and go: each event once, in one order", async (t) => {
  const { library, watch } = await service(t);
  const docs = await library("docs");
  const first = await watch("docs").started();
  const writing = Promise.all(
    upTo(4).map(async (writer) => {
      for (const i of upTo(50)) {
        await docs.upsert([document(`w${writer}-${i}`), document(`v${writer}-${i}`)]);
        if (i % 5 === 0) await docs.delete([`w${writer}-${i}`]);
      }
    }),
  );
  const expected = 4 * (50 * 2 + 10);
  let cursor = first.start;
  const pieces: string[] = [];
  while (pieces.length < expected) {
    const piece = watch("docs", cursor);
    await piece.count(1);
    await piece.stop();
    pieces.push(...piece.told);
    cursor = piece.events.at(-1)?.cursor ?? cursor;
  }
  await writing;
  await first.count(expected);
  assert.equal(first.events.length, expected);
  assert.deepEqual(pieces, first.told);
  assert.equal(new Set(first.told).size, expected);
});

test("a stopping service ends watches with UNAVAILABLE; the next one goes on behind the cursor", async (t) => {
  const folder = await tempDir(t);
  const before = await service(t, { folder });
  const docs = await before.library("docs");
  const watched = await before.watch("docs").started();
  await docs.upsert([document("a"), document("b")]);
  await watched.count(2);
  const stopping = before.stop();
  await watched.ended;
  await stopping;
  const { library, watch } = await service(t, { folder });
  const resumed = watch("docs", watched.events[0]?.cursor);
  const same = await library("docs");
  await same.delete(["a"]);
  await resumed.count(2);
  assert.deepEqual(resumed.told, ["upserted b", "deleted a"]);
});

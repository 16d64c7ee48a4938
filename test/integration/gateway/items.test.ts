import assert from "node:assert/strict";
import { test } from "node:test";
import { readDelimited } from "../../../platform/delimited.ts";
import { ArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import type { Nats } from "../../../platform/nats/connection.ts";
import { ITEMS_PER_PART, writeItemsPart } from "../../../platform/nats/job-items.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import type { Filter } from "../../../proto/gen/arrwdb/v1/document.ts";
import {
  BatchDeleteSpec,
  JobItem,
  JobStatus,
  type ListJobItemsResponse,
  SubmitJobRequest,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";

const CALL = { timeoutMs: 10_000 };
const FILTER: Filter = { all: [{ field: "author", test: { $case: "equals", value: "ada" } }] };

function batchDelete(
  spec: { readonly documentIds?: string[]; readonly filter?: Filter },
  requestId = "",
): SubmitJobRequest {
  const value = { ...BatchDeleteSpec.fromPartial({}), ...spec };
  const request = SubmitJobRequest.fromPartial({ libraryId: "docs", requestId });
  return { ...request, spec: { spec: { $case: "batchDelete", value } } };
}

test("ids of a deletion become the job's payload as they came; a filter stays in its spec", async (t) => {
  const { jobs, scheduler, index, nats } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  const documentIds = ["a", "ü", "x".repeat(512)];
  const { job } = await unary(jobs, jobs.submitJob, batchDelete({ documentIds }), CALL);
  await unary(jobs, jobs.submitJob, batchDelete({ filter: FILTER }), CALL);
  const [byIds, byFilter] = scheduler.submissions;
  assert.deepEqual([byIds?.type, byIds?.itemCount, byIds?.payloadObject], ["batch_delete", 3n, job?.jobId]);
  const kept = byIds?.request?.spec?.spec;
  assert.ok(kept?.$case === "batchDelete");
  assert.deepEqual(kept.value.documentIds, []);
  const stored: string[] = [];
  for await (const { bytes } of readDelimited(new JetStreamObjects(nats).read(job?.jobId ?? "", 0), 0)) {
    stored.push(Buffer.from(bytes).toString());
  }
  assert.deepEqual(stored, documentIds);
  assert.deepEqual([byFilter?.itemCount, byFilter?.payloadObject], [0n, ""]);
  const filtered = byFilter?.request?.spec?.spec;
  assert.ok(filtered?.$case === "batchDelete");
  assert.equal(filtered.value.filter?.all[0]?.field, "author");
});

test("a request_id stands for its ids, too", async (t) => {
  const { jobs, scheduler, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  for (const documentIds of [["a", "b"], ["a", "b"], ["ab"], ["b", "a"]]) {
    await unary(jobs, jobs.submitJob, batchDelete({ documentIds }, "r"), CALL);
  }
  const [one, same, joined, turned] = scheduler.submissions.map(({ requestDigest }) => String(requestDigest));
  assert.equal(one, same);
  assert.equal(new Set([one, joined, turned]).size, 3);
});

test("a deletion names ids or a filter with a condition, and all that is wrong is said", async (t) => {
  const { jobs, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  const path = "spec.batch_delete";
  const cases: [Parameters<typeof batchDelete>[0], string[]][] = [
    [{}, [`${path}.document_ids`]],
    [{ documentIds: ["a"], filter: FILTER }, [`${path}.filter`]],
    [{ filter: { all: [] } }, [`${path}.filter.all`]],
    [{ documentIds: ["", "ok", "x".repeat(513)] }, [`${path}.document_ids[0]`, `${path}.document_ids[2]`]],
    [{ documentIds: Array(100_001).fill("a") }, [`${path}.document_ids`]],
    [
      { filter: { all: [{ field: "nope", test: { $case: "exists", value: true } }] } },
      [`${path}.filter.all[0].field`],
    ],
  ];
  for (const [spec, fields] of cases) {
    const error = await unary(jobs, jobs.submitJob, batchDelete(spec), CALL).catch(
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof ArrwError);
    assert.deepEqual(
      error.violations.map(({ field }) => field),
      fields,
    );
  }
});

async function storeItems(
  nats: Nats,
  jobId: string,
  count: number,
  outcome: (n: number) => string,
): Promise<void> {
  for (let part = 0; part * ITEMS_PER_PART < count; part++) {
    const from = part * ITEMS_PER_PART;
    const items = Array.from({ length: Math.min(ITEMS_PER_PART, count - from) }, (_, n) => ({
      item: JobItem.fromPartial({
        ordinal: BigInt(from + n),
        documentId: `d-${from + n}`,
        outcome: outcome(from + n),
      }),
      chunks: 1,
    }));
    await writeItemsPart(nats, jobId, part, { lease: 1n, items, sequence: 0 });
  }
}

interface Query {
  readonly outcome?: string;
  readonly pageSize?: number;
  readonly pageToken?: string;
}

function page({ jobs }: TestGateway, jobId: string, query: Query = {}): Promise<ListJobItemsResponse> {
  const { outcome = "", pageSize = 0, pageToken = "" } = query;
  return unary(jobs, jobs.listJobItems, { jobId, outcome, pageSize, pageToken }, CALL);
}

async function allOf(gateway: TestGateway, jobId: string, query: Query): Promise<number[][]> {
  const found: number[][] = [];
  for (let pageToken = ""; ; ) {
    const { items, nextPageToken } = await page(gateway, jobId, { ...query, pageToken });
    found.push(items.map(({ ordinal }) => Number(ordinal)));
    if (nextPageToken === "") return found;
    pageToken = nextPageToken;
  }
}

test("items come by position, in pages of any size, all or those with an outcome", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, nats } = gateway;
  await scheduler.move("j", { type: "batch_import", status: JobStatus.JOB_STATUS_RUNNING });
  const known = (n: number): string => (n === 600 ? "" : n % 7 === 0 ? "failed" : "ok");
  await storeItems(nats, "j", 620, known);
  const numbers = Array.from({ length: 620 }, (_, n) => n).filter((n) => n !== 600);
  const failed = numbers.filter((n) => n % 7 === 0);
  assert.equal((await page(gateway, "j")).items.length, 50);
  for (const pageSize of [1_000, 250, 249, 97]) {
    const pages = await allOf(gateway, "j", { pageSize });
    assert.deepEqual(pages.flat(), numbers);
    assert.ok(pages.slice(0, -1).every(({ length }) => length === pageSize));
    assert.deepEqual((await allOf(gateway, "j", { pageSize, outcome: "failed" })).flat(), failed);
  }
  const ok = (await allOf(gateway, "j", { pageSize: 1_000, outcome: "ok" })).flat();
  assert.deepEqual(
    ok,
    numbers.filter((n) => n % 7 !== 0),
  );
});

test("a page that finds nothing ends in time, and the next one goes on", async (t) => {
  const gateway = await startTestGateway(t);
  await gateway.scheduler.move("j", { type: "batch_delete" });
  const count = 401 * ITEMS_PER_PART;
  await storeItems(gateway.nats, "j", count, (n) => (n === count - 1 ? "failed" : "ok"));
  const pages = await allOf(gateway, "j", { outcome: "failed" });
  assert.deepEqual(pages, [[], [count - 1]]);
});

test("no items of a job that has not begun; none at all of other types; tokens are a list's own", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, nats } = gateway;
  await scheduler.move("waits", { type: "batch_delete" });
  await scheduler.move("echo", { type: "echo" });
  await scheduler.move("j", { type: "batch_import" });
  await storeItems(nats, "j", 3, () => "ok");
  assert.deepEqual((await page(gateway, "waits")).items, []);
  const { nextPageToken } = await page(gateway, "j", { pageSize: 1 });
  const forged = Buffer.from("items:j:1e3").toString("base64url");
  const cases: [string, Query, object][] = [
    ["echo", {}, { code: "FAILED_PRECONDITION", reason: "NO_ITEMS" }],
    ["nope", {}, { code: "NOT_FOUND", reason: "JOB_NOT_FOUND" }],
    ["a b", {}, { code: "NOT_FOUND", reason: "JOB_NOT_FOUND" }],
    ["waits", { pageToken: nextPageToken }, { code: "INVALID_ARGUMENT" }],
    ["j", { pageToken: "?" }, { code: "INVALID_ARGUMENT" }],
    ["j", { pageToken: forged }, { code: "INVALID_ARGUMENT" }],
    ["j", { pageToken: `${nextPageToken}A` }, { code: "INVALID_ARGUMENT" }],
  ];
  for (const [jobId, query, expected] of cases) await assert.rejects(page(gateway, jobId, query), expected);
  const wrong = await page(gateway, "j", { outcome: "maybe", pageSize: -1 }).catch(
    (thrown: unknown) => thrown,
  );
  assert.ok(wrong instanceof ArrwError);
  assert.deepEqual(
    wrong.violations.map(({ field }) => field),
    ["outcome", "page_size"],
  );
});

import { once } from "node:events";
import type { ArrwClient, Hit } from "../../client/index.ts";
import { hitLines } from "../commands/search.ts";
import { bytes, count, duration, plural, shortened } from "../format.ts";
import { endText } from "../job-text.ts";
import type { System } from "../supervisor.ts";
import { paint, print, width } from "../terminal.ts";
import type { Checks } from "./checks.ts";
import type { Text } from "./texts.ts";
import { type SentDocument, toDocuments, verifyImport } from "./verify.ts";
import { watchedImport } from "./watched-import.ts";

/** What the demo does, one after the other. */

export interface DemoContext {
  readonly client: ArrwClient;
  readonly system: System;
  readonly checks: Checks;
  readonly texts: readonly Text[];
  readonly signal: AbortSignal;
}

const CHUNK_SIZE = 1_000;
/** Smaller chunks make more work, so that there is time to kill a worker. */
const SMALL_CHUNK_SIZE = 300;

export function heading(text: string): void {
  print("", paint("bold", text));
}

/** @returns the library's id */
export async function importStep({ client, checks, texts, signal }: DemoContext): Promise<string> {
  const { libraryId, name } = await client.createLibrary({ name: "texts" });
  const sent = toDocuments(libraryId, texts);
  const size = bytes(texts.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0));
  heading(
    `1  Import ${plural(sent.length, "document")} (${size} of Markdown and licences) into library ${name}`,
  );
  const began = performance.now();
  const { job, updates, wentBack } = await watchedImport(client, libraryId, sent, {
    chunkSize: CHUNK_SIZE,
    signal,
  });
  const seconds = (performance.now() - began) / 1_000;
  print(`   ${endText(job)}`);
  const result = job.result?.result;
  const chunks = result?.$case === "batchImport" ? Number(result.value.totalChunks) : 0;
  print(`   ${count(Math.round(chunks / seconds))} chunks a second, sent, stored, embedded and indexed`);
  checks.ok(
    `watched live: ${plural(updates, "update")} over the stream`,
    updates >= 2 && !wentBack,
    "out of order",
  );
  await verifyImport(client, checks, job, sent);
  return libraryId;
}

interface DemoSearch {
  readonly text: string;
  readonly exact: boolean;
  readonly claim: string;
  readonly found: (best: Hit) => boolean;
}

const HITS = 3;

export async function searchStep({ client, checks, texts }: DemoContext, libraryId: string): Promise<void> {
  heading("2  Search it");
  for (const { text, exact, claim, found } of await searches(client, texts, libraryId)) {
    const began = performance.now();
    const { hits } = await client.search(libraryId, text, { k: HITS, exact, includeText: true });
    const took = duration(performance.now() - began);
    const shown = paint("cyan", `"${shortened(text, 60)}"`);
    print("", `   ${shown}${exact ? " exact" : ""}  ${paint("dim", took)}`);
    for (const [i, hit] of hits.entries()) {
      for (const line of hitLines(hit, i + 1, width() - 3)) print(`   ${line}`);
    }
    const [best] = hits;
    const ordered = hits.every((hit, i) => i === 0 || hit.score <= (hits[i - 1]?.score ?? 0));
    const holds = hits.length === HITS && ordered && best !== undefined && found(best);
    checks.ok(claim, holds, `${plural(hits.length, "hit")}, the best of ${best?.title ?? "none"}`);
  }
}

async function searches(
  client: ArrwClient,
  texts: readonly Text[],
  libraryId: string,
): Promise<readonly DemoSearch[]> {
  const middle = toDocuments(libraryId, texts)[Math.floor(texts.length / 2)]?.documentId ?? "";
  const { texts: chunks } = await client.getDocument(libraryId, middle);
  const chunk = chunks[0] ?? "";
  return [
    {
      text: "permission is hereby granted, free of charge, to any person",
      exact: false,
      claim: "the best hit grants permission",
      found: (best) => /permission is hereby granted/i.test(best.text),
    },
    {
      text: "patent license to make, use, sell and import the work",
      exact: false,
      claim: "the best hit speaks of patents",
      found: (best) => /patent/i.test(best.text),
    },
    {
      text: chunk,
      exact: true,
      claim: "a chunk is found by its own text at rank 1",
      found: (best) => best.text === chunk && best.score > 0.999,
    },
  ];
}

const KILL_FROM = 10;
const KILL_BELOW = 90;

export async function killStep({ client, system, checks, texts, signal }: DemoContext): Promise<void> {
  const { libraryId, name } = await client.createLibrary({ name: "texts-in-small-chunks" });
  const sent: SentDocument[] = toDocuments(libraryId, texts);
  heading(`3  Import them into library ${name}, and kill the worker in the middle`);
  let killed: { readonly percent: number; readonly workerId: string } | undefined;
  const workerExit = once(system.events, "exit", { signal });
  workerExit.catch(() => undefined);
  const { job, wentBack } = await watchedImport(client, libraryId, sent, {
    chunkSize: SMALL_CHUNK_SIZE,
    signal,
    onRunning: ({ progress, workerId }, pause) => {
      const percent = progress?.percentage ?? 0;
      if (killed || percent < KILL_FROM || percent > KILL_BELOW) return;
      const pid = system.pid("worker");
      if (!system.kill("worker", "SIGKILL")) return;
      killed = { percent, workerId };
      pause();
      const at = `at ${Math.floor(percent)} %, ${count(progress?.current ?? 0n)} of ${plural(sent.length, "document")}`;
      print(
        `   ${paint("yellow", `worker killed (SIGKILL, process ${pid}) ${at}`)}`,
        `   ${paint("dim", "its lease ends when its heartbeats have been missing for a while; then another goes on")}`,
      );
    },
  });
  print(`   ${endText(job)}`);
  checks.ok(
    "the worker was killed in the middle of it",
    killed !== undefined,
    `the import was never seen between ${KILL_FROM} and ${KILL_BELOW} %`,
  );
  if (!killed) return;
  const [who, exit] = await workerExit;
  checks.ok(
    "SIGKILL ended it",
    who === "worker" && exit.signal === "SIGKILL",
    `${who} ended with ${exit.signal}`,
  );
  checks.ok(
    "another worker went on with it",
    job.losses === 1 && job.workerId !== killed.workerId && !wentBack,
    `${plural(job.losses, "loss")}, last worker ${job.workerId}`,
  );
  await verifyImport(client, checks, job, sent);
}

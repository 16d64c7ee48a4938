import { JobStatus } from "../../client/index.ts";
import { buildFigureLines } from "../build-text.ts";
import { plural } from "../format.ts";
import { endText } from "../job-text.ts";
import { print } from "../terminal.ts";
import { type DemoContext, heading } from "./steps.ts";

const CONNECTIVITY = 32;
const QUERY = "permission is hereby granted, free of charge, to any person";
const MIN_RECALL = 0.95;

/** Another index for the library, beside the live one, while it is searched. */
export async function rebuildStep({ client, checks, signal }: DemoContext, libraryId: string): Promise<void> {
  heading(`4  Rebuild the first library's index with twice the edges, while it is searched`);
  const before = await client.getLibrary(libraryId);
  const options = { indexConfig: { connectivity: CONNECTIVITY }, minRecall: MIN_RECALL, signal };
  const { jobId } = await client.rebuildIndex(libraryId, options);
  let ended = false;
  const waited = client.wait(jobId, { signal }).finally(() => {
    ended = true;
  });
  waited.catch(() => undefined);
  const generations: bigint[] = [];
  // The one after the end is answered by the new index.
  for (let last = false; !last; ) {
    last = ended;
    const { generation, hits } = await client.search(libraryId, QUERY, { k: 1 }, { signal });
    if (hits.length === 1) generations.push(generation);
    else break;
  }
  const job = await waited;
  print(`   ${endText(job)}`, ...buildFigureLines(job).map((line) => ` ${line}`));
  const result = job.result?.result;
  const figures = result?.$case === "indexRebuild" ? result.value : undefined;
  checks.ok(
    "the new index finds what exact search finds",
    job.status === JobStatus.JOB_STATUS_COMPLETED && (figures?.recallAt10 ?? 0) >= MIN_RECALL,
    `recall@10 ${figures?.recallAt10 ?? "unknown"}`,
  );
  const rising = generations.every((each, i) => i === 0 || each >= (generations[i - 1] ?? 0n));
  checks.ok(
    `${plural(generations.length, "search")} meanwhile`.replace("searchs", "searches"),
    rising && generations.at(-1) === figures?.generation && generations.at(-1) !== before.generation,
    `the last one by generation ${generations.at(-1)}`,
  );
}

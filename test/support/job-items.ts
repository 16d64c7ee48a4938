import type { Nats } from "../../platform/nats/connection.ts";
import { itemsOf, itemsParts } from "../../platform/nats/job-items.ts";
import type { JobItem } from "../../proto/gen/arrwdb/v1/jobs.ts";

/** All that is stored of a job's items, those that are being worked on too, as [ordinal, document, outcome or code]. */
export async function storedItems(nats: Pick<Nats, "getMessage">, jobId: string): Promise<JobItem[]> {
  const items: JobItem[] = [];
  for await (const { part } of itemsParts(nats, jobId, 0)) {
    items.push(...itemsOf(part).flatMap(({ item }) => item ?? []));
  }
  return items;
}

export function shown(items: readonly JobItem[]): [number, string, string][] {
  return items.map(({ ordinal, documentId, outcome, error }) => [
    Number(ordinal),
    documentId,
    error?.code ?? outcome,
  ]);
}

import { ArrwError, invalidArgument, notFound } from "../../platform/errors.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { ITEMS_PER_PART, itemsOf, itemsParts, partOf } from "../../platform/nats/job-items.ts";
import {
  GetJobResponse,
  type JobItem,
  type ListJobItemsRequest,
  type ListJobItemsResponse,
} from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { ItemsPart } from "../../proto/gen/arrwdb/worker/v1/items.ts";
import { itemsPageStart, itemsPageToken } from "./domain/items-page.ts";
import { typeHasItems } from "./domain/job-types.ts";
import { isJobId } from "./domain/validation/ids.ts";
import { checkListJobItems } from "./domain/validation/lists.ts";
import { pageSizeOf } from "./domain/validation/paging.ts";
import type { GatewayContext } from "./guard.ts";
import { readJob } from "./job-reader.ts";
import type { SchedulerClient } from "./scheduler-client.ts";

export interface JobItemsOptions {
  readonly scheduler: Pick<SchedulerClient, "call">;
  readonly nats: Pick<Nats, "getMessage">;
}

/** Parts that a page looks through at most: few failed ones among a million others must not hold up a call. */
const MAX_PARTS = 400;

/** ListJobItems: reads what workers have stored of the job's items. */
export class JobItems {
  readonly #options: JobItemsOptions;

  constructor(options: JobItemsOptions) {
    this.#options = options;
  }

  /** @throws ArrwError */
  async list(request: ListJobItemsRequest, context: GatewayContext): Promise<ListJobItemsResponse> {
    const { jobId, outcome, pageToken } = request;
    const violations = checkListJobItems(request);
    if (violations.length > 0) throw invalidArgument(violations);
    if (!isJobId(jobId)) throw notFound("job", jobId);
    const from = itemsPageStart(jobId, pageToken);
    if (from === undefined) {
      throw invalidArgument([{ field: "page_token", description: "not a token of this list" }]);
    }
    await this.#checkType(jobId, context);
    return this.#page(jobId, outcome, from, pageSizeOf(request.pageSize));
  }

  async #page(jobId: string, outcome: string, from: number, pageSize: number): Promise<ListJobItemsResponse> {
    const items: JobItem[] = [];
    const first = partOf(from);
    for await (const { number, part } of itemsParts(this.#options.nats, jobId, first)) {
      if (number - first === MAX_PARTS) {
        return { items, nextPageToken: itemsPageToken(jobId, number * ITEMS_PER_PART) };
      }
      for (const item of matching(part, outcome)) {
        if (Number(item.ordinal) < from) continue;
        if (items.length === pageSize) {
          return { items, nextPageToken: itemsPageToken(jobId, Number(item.ordinal)) };
        }
        items.push(item);
      }
    }
    return { items, nextPageToken: "" };
  }

  async #checkType(jobId: string, context: GatewayContext): Promise<void> {
    const reply = await readJob(this.#options.scheduler, jobId, context);
    const { job } = GetJobResponse.decode(reply);
    if (!job) throw notFound("job", jobId);
    if (typeHasItems(job.type)) return;
    throw new ArrwError("FAILED_PRECONDITION", `jobs of type ${job.type} have no items`, {
      reason: "NO_ITEMS",
      resource: { type: "job", name: jobId },
    });
  }
}

/** Those of a part that the client asks for; "" = all whose outcome is known. */
function matching(part: ItemsPart, outcome: string): JobItem[] {
  if (outcome === "ok" && part.ok === 0) return [];
  if (outcome === "failed" && part.failed === 0) return [];
  return itemsOf(part).flatMap(({ item }) => {
    if (!item || item.outcome === "") return [];
    return outcome === "" || item.outcome === outcome ? [item] : [];
  });
}

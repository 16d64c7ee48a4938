import { ArrwError, invalidArgument } from "../../../platform/errors.ts";
import { statesOf, viewOfJob, viewOfQueue } from "../domain/job-view.ts";
import { countsSchema, jobSchema, theJob } from "./answers.ts";
import type { JsonCodec } from "./codec.ts";
import { FILTER_PARAMETERS } from "./job-json.ts";
import { isObject, type JsonObject } from "./json-shape.ts";
import type { Body, Route, RouteCall } from "./route.ts";

/** Jobs that are there: read, list, cancel, retry, delete. */

export function jobRoutes(codec: JsonCodec): readonly Route[] {
  const job = theJob(codec);
  return [
    listJobs(codec),
    queueCounts,
    {
      method: "GET",
      path: "/v1/jobs/{job_id}",
      rpc: "JobService.GetJob",
      answer: {
        of: ({ job: found, stale_sequence }) => ({ ...viewOfJob(found as JsonObject), stale_sequence }),
        schema: (schemas) => {
          const own = schemas.fields(codec.messageType("arrwdb.v1.GetJobResponse"), ["job"]);
          return {
            allOf: [
              jobSchema(codec, schemas),
              { type: "object", properties: own.properties, required: ["stale_sequence"] },
            ],
          };
        },
      },
    },
    {
      method: "DELETE",
      path: "/v1/jobs/{job_id}",
      rpc: "JobService.CancelJob",
      summary: "Cancels a job; with purge=true, deletes one that has ended",
      parameters: [
        { name: "purge", flag: true, about: "Remove the job, which has to have ended: 204." },
        { name: "reason" },
      ],
      run: cancelOrDelete,
      answer: { ...job, of: (response) => ("job" in response ? job.of(response) : undefined) },
    },
    {
      method: "POST",
      path: "/v1/jobs/{job_id}/retry",
      rpc: "JobService.RetryJob",
      summary: "Runs an ended job again",
      answer: job,
    },
    {
      method: "GET",
      path: "/v1/jobs/{job_id}/items",
      rpc: "JobService.ListJobItems",
      summary: "What became of each document of a batch_import or batch_delete",
      parameters: [{ name: "outcome" }, { name: "page_size" }, { name: "page_token" }],
      // Jobs of other types have none.
      conflicts: true,
    },
    ...Object.entries({ Cancel: "Cancels", Retry: "Runs again", Delete: "Deletes" }).map(
      ([verb, does]): Route => ({
        method: "POST",
        path: `/v1/jobs/${verb.toLowerCase()}`,
        rpc: `JobService.${verb}Jobs`,
        summary: `${does} the jobs that a filter matches`,
        body: filtered,
      }),
    ),
  ];
}

function listJobs(codec: JsonCodec): Route {
  return {
    method: "GET",
    path: "/v1/jobs",
    rpc: "JobService.ListJobs",
    parameters: [...FILTER_PARAMETERS, { name: "limit", field: "page_size" }, { name: "page_token" }],
    answer: {
      of: ({ jobs, total_size, next_page_token, cursor, stale_sequence }) => ({
        jobs: (jobs as readonly JsonObject[]).map(viewOfJob),
        total: total_size,
        next_page_token,
        cursor,
        stale_sequence,
      }),
      schema: (schemas) => {
        const own = schemas.fields(codec.messageType("arrwdb.v1.ListJobsResponse"), ["jobs"]);
        const { total_size, ...others } = own.properties as Record<string, object>;
        const jobs = { type: "array", items: jobSchema(codec, schemas) };
        return { ...own, properties: { jobs, total: total_size, ...others } };
      },
    },
  };
}

const COUNTS = [
  "total_jobs",
  "completed_jobs",
  "failed_jobs",
  "pending_jobs",
  "running_jobs",
  "queue_size",
  "num_workers",
] as const;

const queueCounts: Route = {
  method: "GET",
  path: "/v1/jobs/stats/queue",
  rpc: "JobService.GetQueueStats",
  summary: "Counts of jobs; num_workers is how many can run at a time",
  answer: {
    of: viewOfQueue,
    schema: (schemas) =>
      schemas.define("QueueCounts", () => ({
        type: "object",
        properties: { ...countsSchema(COUNTS), running: { type: "boolean" } },
        required: [...COUNTS, "running"],
      })),
  },
};

/** `statuses` of a filter are the words of a job's status or state: pending stands for scheduled and blocked, too. */
const filtered: Body = {
  request: (body) => {
    const { filter } = body;
    if (!isObject(filter) || !Array.isArray(filter.statuses)) return body;
    return { ...body, filter: { ...filter, statuses: statesOf(filter.statuses) } };
  },
};

const TERMINAL = new Set(["completed", "failed", "cancelled"]);

/** A second cancel is refused here, as a cancel of any job that has ended: a DELETE says that the job was there to end. */
async function cancelOrDelete(
  call: RouteCall,
  { purge, reason, ...request }: JsonObject,
): Promise<JsonObject> {
  if (purge === true) {
    if (reason !== undefined) {
      throw invalidArgument([{ field: "reason", description: "not together with purge; got both" }]);
    }
    return call.call("JobService.DeleteJob", request);
  }
  const { job } = await call.call("JobService.GetJob", request);
  const state = String((job as JsonObject).status);
  if (TERMINAL.has(state)) {
    throw new ArrwError("FAILED_PRECONDITION", `job ${request.job_id} is ${state.toUpperCase()} already`, {
      reason: "JOB_TERMINAL",
      resource: { type: "job", name: String(request.job_id) },
    });
  }
  return call.call("JobService.CancelJob", reason === undefined ? request : { ...request, reason });
}

import { Job, type JobFilter, ListJobsRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { type JobView, statesOf, viewOfJob } from "../domain/job-view.ts";
import type { JsonCodec } from "./codec.ts";
import { type Parameter, Parameters } from "./parameters.ts";

/** Jobs and filters of jobs between JSON and messages. */

/** As GET /v1/jobs/{job_id} shows it. */
export function jobView(codec: JsonCodec, job: Job | undefined): JobView {
  return viewOfJob(codec.decode("arrwdb.v1.Job", Job.encode(job ?? Job.fromPartial({})).finish()));
}

/** Conditions of lists and watches of jobs, which are those of a filter by other names. */
export const FILTER_PARAMETERS: readonly Parameter[] = [
  {
    name: "status",
    field: "filter.statuses",
    about: "pending (which scheduled and blocked are, too), running, completed, failed or cancelled.",
    read: statesOf,
  },
  { name: "state", field: "filter.statuses", about: "The same as it is exactly: scheduled, blocked, ..." },
  { name: "type", field: "filter.types" },
  { name: "library_id", field: "filter.library_id" },
  { name: "label", field: "filter.labels", about: "key:value" },
  { name: "created_after", field: "filter.created_after" },
  { name: "created_before", field: "filter.created_before" },
];

/**
 * The filter that a query string asks for, undefined where it has no condition; parameters that the route reads itself,
 * `own`, are passed over. @throws ArrwError INVALID_ARGUMENT: others, too, as without what they were meant to say all jobs match
 */
export function jobFilterOf(
  codec: JsonCodec,
  query: unknown,
  own: readonly string[] = [],
): JobFilter | undefined {
  const type = codec.messageType("arrwdb.v1.ListJobsRequest");
  const parameters = new Parameters(type, FILTER_PARAMETERS);
  try {
    return ListJobsRequest.decode(codec.encode(type, parameters.read(query, { own }))).filter;
  } catch (error) {
    throw parameters.named(error);
  }
}

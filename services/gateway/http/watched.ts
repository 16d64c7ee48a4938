import type { FastifyRequest } from "fastify";
import type { CallContext } from "../../../platform/grpc/server.ts";
import {
  type JobFilter,
  ListJobsRequest,
  ListJobsResponse,
  WatchJobRequest,
  WatchJobResponse,
  WatchJobsRequest,
  WatchJobsResponse,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { WatchLibraryRequest, WatchLibraryResponse } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import type { HttpDoor } from "./door.ts";
import type { StreamEvent } from "./event-stream.ts";
import { jobFilterOf, jobView } from "./job-json.ts";
import { encodedBy, lastEventId, queryText, revisionAfter } from "./stream-query.ts";

/** The three watches as streams of events: where they begin, and what an event says. */

/** @throws ArrwError before the first event for what is refused */
export type Watch = (request: FastifyRequest, context: CallContext) => AsyncIterable<StreamEvent>;

/** Each event is the job, as GET /v1/jobs/{job_id} shows it; its id the revision. */
export function watchedJob({ api, codec }: HttpDoor): Watch {
  const eventOf = shared((message: Buffer): StreamEvent => {
    const job = jobView(codec, WatchJobResponse.decode(message).job);
    return { id: String(job.revision), event: "job", data: JSON.stringify(job) };
  });
  return async function* (request, context) {
    const { job_id: jobId } = request.params as { readonly job_id: string };
    const asked = WatchJobRequest.fromPartial({ jobId, afterRevision: revisionAfter(request) });
    for await (const message of api.jobs.watchJob(asked, context)) {
      yield eventOf(encodedBy(WatchJobResponse, message));
    }
  };
}

/** Of a watch of jobs, besides those of its filter. */
const OWN_PARAMETERS = ["after_cursor", "access_token"];

/** Each event is {cursor, event, at, job}; its id the cursor. */
export function watchedJobs(door: HttpDoor): Watch {
  const { api, codec } = door;
  const eventOf = shared((message: Buffer): StreamEvent => {
    const { cursor, event, at, job } = WatchJobsResponse.decode(message);
    const data = { cursor, event, at: at?.toISOString() ?? null, job: jobView(codec, job) };
    return { id: cursor, event, data: JSON.stringify(data) };
  });
  return async function* (request, context) {
    const filter = jobFilterOf(codec, request.query, OWN_PARAMETERS);
    let afterCursor = lastEventId(request) ?? queryText(request.query, "after_cursor") ?? "";
    if (afterCursor === "") {
      // Known before anything happens, it is where a client goes on whose connection breaks before the first event.
      afterCursor = await cursorOfNow(door, filter, context);
      if (afterCursor !== "") yield { id: afterCursor, event: undefined, data: "null" };
    }
    const asked = WatchJobsRequest.fromPartial({ filter, afterCursor });
    for await (const message of api.jobs.watchJobs(asked, context)) {
      yield eventOf(encodedBy(WatchJobsResponse, message));
    }
  };
}

/** Each event is {cursor, event, at, document_id, generation}; its id the cursor. */
export function watchedLibrary({ api, codec }: HttpDoor): Watch {
  return async function* (request, context) {
    const { library_id: libraryId } = request.params as { readonly library_id: string };
    const afterCursor = lastEventId(request) ?? queryText(request.query, "after_cursor") ?? "";
    const asked = WatchLibraryRequest.fromPartial({ libraryId, afterCursor });
    for await (const message of api.libraries.watchLibrary(asked, context)) {
      const bytes = encodedBy(WatchLibraryResponse, message);
      const { cursor, event } = WatchLibraryResponse.decode(bytes);
      if (event === "") yield { id: cursor, event: undefined, data: "null" };
      else
        yield {
          id: cursor,
          event,
          data: JSON.stringify(codec.decode("arrwdb.v1.WatchLibraryResponse", bytes)),
        };
    }
  };
}

async function cursorOfNow(
  { api }: HttpDoor,
  filter: JobFilter | undefined,
  context: CallContext,
): Promise<string> {
  const reply = await api.jobs.listJobs(ListJobsRequest.fromPartial({ filter, pageSize: 1 }), context);
  return (Buffer.isBuffer(reply) ? ListJobsResponse.decode(reply) : reply).cursor;
}

/** All watchers of a job are given the same bytes: its event is made once. */
function shared(make: (message: Buffer) => StreamEvent): (message: Buffer) => StreamEvent {
  const made = new WeakMap<Buffer, StreamEvent>();
  return (message) => {
    let event = made.get(message);
    if (!event) {
      event = make(message);
      made.set(message, event);
    }
    return event;
  };
}

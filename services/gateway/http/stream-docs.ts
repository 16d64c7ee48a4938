import { submittedSchema } from "./answers.ts";
import { type Describing, json, operationId } from "./describing.ts";
import { FILTER_PARAMETERS } from "./job-json.ts";
import type { JsonSchema } from "./schemas.ts";
import { UPLOAD_PARAMETERS } from "./upload-header.ts";

/** Descriptions of what streams: those routes are no table, each is a matter of its own. */

interface StreamPath {
  readonly path: string;
  readonly method: "get" | "post";
  readonly operation: JsonSchema;
}

const PACKAGE = "arrwdb.v1";
const TEXT = { type: "string" };
const BOOLEAN = { type: "boolean" };
const LAST_EVENT_ID = header(
  "Last-Event-ID",
  "id of the last event seen; EventSource sends it when it connects again.",
);
const ACCESS_TOKEN = query(
  "access_token",
  "The same as Authorization, for EventSource and WebSocket in browsers, which can't send that.",
);
const AFTER_CURSOR = query("after_cursor", "cursor of the last event seen; none = from now.");
const EVENTS =
  "Server-Sent Events: id, event and data, which is JSON; a comment every 15 s of silence. The same path as a WebSocket sends JSON texts {id, event, data}. What fails after the first byte is an event named error, with the JSON of an error as its data.";

export function streamPaths(describing: Describing): readonly StreamPath[] {
  return [...watches(describing), logs(describing), exportFile(describing), documentStream(describing)];
}

function watches(describing: Describing): readonly StreamPath[] {
  const { schemas } = describing;
  const events = (
    path: string,
    rpc: string,
    name: string,
    parameters: readonly JsonSchema[],
  ): StreamPath => ({
    path,
    method: "get",
    operation: {
      operationId: operationId("get", path),
      tags: [rpc.startsWith("Library") ? "Libraries" : "Jobs"],
      summary: name,
      description: `${schemas.comment(`${PACKAGE}.${rpc}`) ?? ""}\n\n${EVENTS}`,
      "x-rpc": `${PACKAGE}.${rpc.replace(".", "/")}`,
      parameters: [...parameters, LAST_EVENT_ID, ACCESS_TOKEN],
      responses: {
        200: { description: "Events as they happen.", content: { "text/event-stream": { schema: TEXT } } },
        204: { description: "The client has seen the end: there is no more to come." },
        ...describing.failures([404, 410]),
      },
    },
  });
  const job = "/v1/jobs/{job_id}/events";
  const library = "/v1/libraries/{library_id}/events";
  return [
    events(job, "JobService.WatchJob", "A job as it is, then every change until it ends", [
      ...describing.pathParameters(job, `${PACKAGE}.WatchJobRequest`),
      query("after_revision", "Revision that the client has already."),
    ]),
    events("/v1/events", "JobService.WatchJobs", "Every change of all jobs as it happens", [
      ...describing.parameters(`${PACKAGE}.ListJobsRequest`, FILTER_PARAMETERS),
      AFTER_CURSOR,
    ]),
    events(library, "LibraryService.WatchLibrary", "Every change of a library as it happens", [
      ...describing.pathParameters(library, `${PACKAGE}.WatchLibraryRequest`),
      AFTER_CURSOR,
    ]),
  ];
}

function logs(describing: Describing): StreamPath {
  const path = "/v1/jobs/{job_id}/logs";
  const { schemas, codec } = describing;
  const line = schemas.message(codec.messageType(`${PACKAGE}.GetJobLogsResponse`));
  const lines = {
    type: "object",
    properties: { lines: { type: "array", items: line } },
    required: ["lines"],
  };
  return {
    path,
    method: "get",
    operation: {
      operationId: operationId("get", path),
      tags: ["Jobs"],
      summary: "What a job's attempts wrote to their log",
      description: schemas.comment(`${PACKAGE}.JobService.GetJobLogs`),
      "x-rpc": `${PACKAGE}.JobService/GetJobLogs`,
      parameters: [
        ...describing.pathParameters(path, `${PACKAGE}.GetJobLogsRequest`),
        { ...query("follow", "Go on with new lines until the job ends, as NDJSON or SSE."), schema: BOOLEAN },
        query("after_cursor", "cursor of the last line seen."),
        LAST_EVENT_ID,
        ACCESS_TOKEN,
      ],
      responses: {
        200: {
          description: "The lines, oldest first; in the form that Accept asks for.",
          content: {
            ...json(lines),
            "application/x-ndjson": { schema: line },
            "text/event-stream": { schema: TEXT },
          },
        },
        ...describing.failures([404]),
      },
    },
  };
}

function exportFile(describing: Describing): StreamPath {
  const path = "/v1/jobs/{job_id}/export";
  const file = { content: { "application/octet-stream": { schema: { type: "string", format: "binary" } } } };
  return {
    path,
    method: "get",
    operation: {
      operationId: operationId("get", path),
      tags: ["Jobs"],
      summary: "The file of a completed batch_export",
      description: describing.schemas.comment(`${PACKAGE}.JobService.DownloadExport`),
      "x-rpc": `${PACKAGE}.JobService/DownloadExport`,
      parameters: [
        ...describing.pathParameters(path, `${PACKAGE}.DownloadExportRequest`),
        header("Range", "One range of bytes: bytes=1000-."),
        header("If-Range", "The ETag that the range is of."),
        header("If-None-Match", "An ETag: 304 when the file is that."),
      ],
      responses: {
        200: { description: "The file; its ETag is its SHA-256. Its type is that of its format.", ...file },
        206: { description: "The range that was asked for.", ...file },
        304: { description: "The client has it already." },
        ...describing.failures([404, 409, 410, 416]),
      },
    },
  };
}

function documentStream(describing: Describing): StreamPath {
  const path = "/v1/libraries/{library_id}/documents/stream";
  const { schemas, codec } = describing;
  return {
    path,
    method: "post",
    operation: {
      operationId: operationId("post", path),
      tags: ["Jobs"],
      summary: "Submits a batch_import of any size, one document a line",
      description: schemas.comment(`${PACKAGE}.JobService.ImportDocuments`),
      "x-rpc": `${PACKAGE}.JobService/ImportDocuments`,
      parameters: [
        ...describing.pathParameters(path, `${PACKAGE}.SubmitJobRequest`),
        ...describing.parameters(`${PACKAGE}.SubmitJobRequest`, UPLOAD_PARAMETERS),
      ],
      requestBody: {
        required: true,
        description: "NDJSON; may be compressed: Content-Encoding: gzip.",
        content: {
          "application/x-ndjson": { schema: schemas.message(codec.messageType(`${PACKAGE}.Document`)) },
        },
      },
      responses: {
        202: { description: "The job is durable.", content: json(submittedSchema(schemas)) },
        ...describing.failures([404, 409, 413, 415]),
      },
    },
  };
}

function query(name: string, description: string): JsonSchema {
  return { name, in: "query", description, schema: TEXT };
}

function header(name: string, description: string): JsonSchema {
  return { name, in: "header", description, schema: TEXT };
}

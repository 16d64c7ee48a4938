import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { toArrwError } from "../../../platform/errors.ts";
import { GetJobLogsRequest, GetJobLogsResponse } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { HttpDoor } from "./door.ts";
import { errorBody } from "./errors.ts";
import { type OpenedStream, openStream, type StreamEvent, withAccessToken } from "./event-stream.ts";
import { PacedText } from "./paced-text.ts";
import type { StreamOptions } from "./send-timeout.ts";
import { sendSse } from "./sse.ts";
import { encodedBy, lastEventId, queryFlag, queryText } from "./stream-query.ts";

/**
 * GET /v1/jobs/{job_id}/logs: {"lines": [...]}; as NDJSON or SSE, by Accept, line by line, and then with ?follow=true
 * up to the job's end.
 */

const RESPONSE = "arrwdb.v1.GetJobLogsResponse";
const NDJSON = "application/x-ndjson";
const SSE = "text/event-stream";

interface LogRoute {
  readonly Params: { readonly job_id: string };
  readonly Querystring: Readonly<Record<string, unknown>>;
}

export function logRoutes(app: FastifyInstance, door: HttpDoor, options: StreamOptions): void {
  app.get<LogRoute>("/v1/jobs/:job_id/logs", { exposeHeadRoute: false }, async (request, reply) => {
    const follow = queryFlag(request.query, "follow");
    const accepted = request.headers.accept ?? "";
    const lines = await openStream(linesOf(door, request, follow));
    if (!accepted.includes(SSE) && !accepted.includes(NDJSON) && !follow) return { lines: await all(lines) };
    if (accepted.includes(SSE)) return sendLines(request, reply, lines, options);
    reply.header("content-type", `${NDJSON}; charset=utf-8`).header("cache-control", "no-store");
    reply.header("x-accel-buffering", "no");
    return reply.send(
      new PacedText(ndjson(lines.messages), { opening: "", onOpen: () => reply.raw.flushHeaders() }),
    );
  });
}

async function* linesOf(
  door: HttpDoor,
  request: FastifyRequest<LogRoute>,
  follow: boolean,
): AsyncGenerator<StreamEvent> {
  const { params, query } = request;
  const context = withAccessToken(door.contextOf(request, { unbounded: follow }), query);
  const afterCursor = lastEventId(request) ?? queryText(query, "after_cursor") ?? "";
  const asked = GetJobLogsRequest.fromPartial({ jobId: params.job_id, follow, afterCursor });
  for await (const message of door.api.jobs.getJobLogs(asked, context)) {
    const line = door.codec.decode(RESPONSE, encodedBy(GetJobLogsResponse, message));
    yield { id: String(line.cursor), event: "line", data: JSON.stringify(line) };
  }
}

function sendLines(
  request: FastifyRequest,
  reply: FastifyReply,
  lines: OpenedStream<StreamEvent>,
  options: StreamOptions,
): FastifyReply {
  // Who has every line of an ended job, and comes again all the same, is told so.
  if (lines.empty && lastEventId(request) !== undefined) return reply.code(204).send();
  return sendSse(reply, lines, options);
}

async function all({ messages }: OpenedStream<StreamEvent>): Promise<unknown[]> {
  const lines: unknown[] = [];
  for await (const { data } of messages) lines.push(JSON.parse(data));
  return lines;
}

async function* ndjson(lines: AsyncIterable<StreamEvent>): AsyncGenerator<string> {
  try {
    for await (const { data } of lines) yield `${data}\n`;
  } catch (error) {
    yield `${JSON.stringify(errorBody(toArrwError(error)))}\n`;
  }
}

import { onlyField } from "./answers.ts";
import type { JsonCodec } from "./codec.ts";
import type { Route } from "./route.ts";

/** What operators do. */

export function queueRoutes(codec: JsonCodec): readonly Route[] {
  const queue = onlyField(codec, "queue", "Queue");
  return [
    { method: "GET", path: "/v1/queues", rpc: "JobService.GetQueueStats" },
    ...(["Pause", "Resume"] as const).flatMap((verb): readonly Route[] => {
      const rpc = `QueueService.${verb}Queue`;
      const path = `/${verb.toLowerCase()}`;
      const all = verb === "Pause" ? "Starts no more jobs of any type" : "Starts jobs again";
      return [
        { method: "POST", path: `/v1/queues${path}`, rpc, summary: all, fixed: { type: "" }, answer: queue },
        { method: "POST", path: `/v1/queues/{type}${path}`, rpc, answer: queue },
      ];
    }),
    { method: "PUT", path: "/v1/queues/{type}/limit", rpc: "QueueService.SetQueueLimit", answer: queue },
    { method: "GET", path: "/v1/workers", rpc: "QueueService.ListWorkers" },
    {
      method: "POST",
      path: "/v1/workers/{worker_id}/drain",
      rpc: "QueueService.DrainWorker",
      answer: onlyField(codec, "worker", "Worker"),
    },
  ];
}

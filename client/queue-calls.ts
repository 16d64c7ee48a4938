import type { Queue, QueueServiceClient, Worker } from "../proto/gen/arrwdb/v1/queues.ts";
import { type CallSettings, type Deadline, present, repeatedly } from "./calls.ts";

/** What operators do: ArrwClient.queues. A queue is all jobs of one type. */
export class QueueCalls {
  readonly #stub: QueueServiceClient;
  readonly #deadline: (settings: CallSettings) => Deadline;

  constructor(stub: QueueServiceClient, deadline: (settings: CallSettings) => Deadline) {
    this.#stub = stub;
    this.#deadline = deadline;
  }

  /** No job of the type ("" = of any) starts until it is resumed; running ones go on. */
  async pause(type = "", settings: CallSettings = {}): Promise<Queue> {
    const stub = this.#stub;
    const { queue } = await repeatedly(stub, stub.pauseQueue, { type }, this.#deadline(settings));
    return present(queue, "queue");
  }

  /** With "" types that were paused by name stay paused. */
  async resume(type = "", settings: CallSettings = {}): Promise<Queue> {
    const stub = this.#stub;
    const { queue } = await repeatedly(stub, stub.resumeQueue, { type }, this.#deadline(settings));
    return present(queue, "queue");
  }

  /** @param maxRunning jobs of the type that may run at a time; 0 = no limit */
  async setLimit(type: string, maxRunning: number, settings: CallSettings = {}): Promise<Queue> {
    const stub = this.#stub;
    const request = { type, maxRunning };
    const { queue } = await repeatedly(stub, stub.setQueueLimit, request, this.#deadline(settings));
    return present(queue, "queue");
  }

  /** Every live worker process, by id. */
  async workers(settings: CallSettings = {}): Promise<Worker[]> {
    const stub = this.#stub;
    return (await repeatedly(stub, stub.listWorkers, {}, this.#deadline(settings))).workers;
  }

  /** The worker gets no more jobs; those it has go on. @throws ClientError NOT_FOUND */
  async drain(workerId: string, settings: CallSettings = {}): Promise<Worker> {
    const stub = this.#stub;
    const { worker } = await repeatedly(stub, stub.drainWorker, { workerId }, this.#deadline(settings));
    return present(worker, "worker");
  }
}

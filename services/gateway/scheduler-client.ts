import { ArrwError } from "../../platform/errors.ts";
import { channelUnready, connect, type OutgoingCall, unaryBytes } from "../../platform/grpc/client.ts";
import type { Part } from "../../platform/lifecycle.ts";
import { SchedulerServiceClient } from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { repeatWhileUnavailable } from "./repeat.ts";

/**
 * Calls to the scheduler. Requests and replies are bytes: what a client sent and what it gets is mostly handed on as
 * it is. A call that meets UNAVAILABLE (no scheduler, or none that leads yet) is repeated with the same bytes, hence
 * the same ids, until the client's deadline.
 */

export interface SchedulerCall {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** What is left of the deadline for the way back to the client. */
const MARGIN_MS = 50;

export class SchedulerClient implements Part {
  readonly name = "scheduler client";
  readonly #address: string;
  #client: SchedulerServiceClient | undefined;

  constructor(address: string) {
    this.#address = address;
  }

  async start(): Promise<void> {
    this.#client = connect(SchedulerServiceClient, this.#address);
    channelUnready(this.#client);
  }

  async stop(): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
  }

  unready(): string | undefined {
    return this.#client ? channelUnready(this.#client) : "not started";
  }

  /** `method` is one of SchedulerServiceService. @throws ArrwError */
  async call(method: { readonly path: string }, request: Buffer, call: SchedulerCall): Promise<Buffer> {
    const { signal } = call;
    const deadlineMs = call.deadlineMs - MARGIN_MS;
    const once = (): Promise<Buffer> => this.#once(method.path, request, { deadlineMs, signal });
    return repeatWhileUnavailable(once, { deadlineMs, signal });
  }

  #once(path: string, request: Buffer, call: OutgoingCall): Promise<Buffer> {
    if (!this.#client) throw new ArrwError("UNAVAILABLE", "the gateway is stopping");
    return unaryBytes(this.#client, path, request, call);
  }
}

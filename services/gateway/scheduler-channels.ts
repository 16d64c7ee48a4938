import { type ArrwError, toArrwError, unavailable } from "../../platform/errors.ts";
import { type ConnectOptions, channelUnready, connect, unaryBytes } from "../../platform/grpc/client.ts";
import {
  SchedulerServiceClient,
  SchedulerServiceService,
} from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { Answer } from "./leader-finder.ts";
import { isAway } from "./repeat.ts";

/** One channel per scheduler: those of the settings for good, those that a scheduler has named while they are used. */

interface Channel {
  readonly client: SchedulerServiceClient;
  calls: number;
}

/** Channels to schedulers that are not in the settings. */
const MAX_NAMED = 4;
/** How long a scheduler has to say whether it leads. */
const ASK_TIMEOUT_MS = 1_000;
const ADDRESS = /^[^\s:,/]+:\d{1,5}$/;
/** A scheduler that starts, or a container that got another IP address, is to be found at once. */
const CHANNEL_OPTIONS = {
  "grpc.max_reconnect_backoff_ms": 200,
  "grpc.dns_min_time_between_resolutions_ms": 1_000,
};
/** No submissions: only one that leads takes them. */
const NOTHING = Buffer.alloc(0);

export class SchedulerChannels {
  readonly #configured: readonly string[];
  readonly #options: ConnectOptions;
  /** In the order of their last use. */
  readonly #channels = new Map<string, Channel>();
  #closed = true;

  constructor(configured: readonly string[], tls?: ConnectOptions["tls"]) {
    this.#configured = configured;
    this.#options = { ...CHANNEL_OPTIONS, tls };
  }

  open(): void {
    this.#closed = false;
    for (const address of this.#configured) channelUnready(this.#channel(address).client);
  }

  close(): void {
    this.#closed = true;
    for (const { client } of this.#channels.values()) client.close();
    this.#channels.clear();
  }

  /** Why none is connected; undefined = one is. */
  unready(): string | undefined {
    if (this.#closed) return "not started";
    // All of them are looked at: an idle one connects by that.
    const states = [...this.#channels.values()].map(({ client }) => channelUnready(client));
    return states.includes(undefined) ? undefined : "not connected";
  }

  /** @throws ArrwError */
  async call(
    address: string,
    path: string,
    request: Buffer,
    call: { readonly deadlineMs: number; readonly signal?: AbortSignal },
  ): Promise<Buffer> {
    const channel = this.#channel(address);
    channel.calls += 1;
    try {
      return await unaryBytes(channel.client, path, request, call);
    } finally {
      channel.calls -= 1;
    }
  }

  async ask(address: string): Promise<Answer> {
    try {
      const deadlineMs = Date.now() + ASK_TIMEOUT_MS;
      await this.call(address, SchedulerServiceService.submitJobs.path, NOTHING, { deadlineMs });
      return { kind: "leads" };
    } catch (thrown) {
      const error = toArrwError(thrown);
      if (error.reason === "NOT_LEADING") return { kind: "follows", leader: leaderNamedBy(error) };
      if (isAway(error) || error.code === "DEADLINE_EXCEEDED") return { kind: "silent", error };
      return { kind: "leads" };
    }
  }

  #channel(address: string): Channel {
    if (this.#closed) throw unavailable("the gateway is stopping");
    let channel = this.#channels.get(address);
    if (!channel) {
      this.#makeRoom();
      channel = { client: connect(SchedulerServiceClient, address, this.#options), calls: 0 };
    } else this.#channels.delete(address);
    this.#channels.set(address, channel);
    return channel;
  }

  /** Closes those named by schedulers that were not used for the longest time. */
  #makeRoom(): void {
    const named = [...this.#channels].filter(([address]) => !this.#configured.includes(address));
    const idle = named.filter(([, { calls }]) => calls === 0);
    for (const [address, { client }] of idle.slice(0, Math.max(0, named.length - MAX_NAMED + 1))) {
      client.close();
      this.#channels.delete(address);
    }
  }
}

function leaderNamedBy(error: ArrwError): string | undefined {
  const { leader } = error.metadata;
  return leader !== undefined && ADDRESS.test(leader) ? leader : undefined;
}

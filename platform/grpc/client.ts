import {
  type CallOptions,
  type ChannelCredentials,
  type Client,
  type ClientOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  connectivityState,
  credentials,
  type Metadata,
  Metadata as MetadataClass,
  type ServiceError,
} from "@grpc/grpc-js";
import { toArrwError, unavailable } from "../errors.ts";
import { fromServiceError } from "./status.ts";

/** Outgoing calls: every one has a deadline, every error is an ArrwError. */

export interface OutgoingCall {
  /** Unix ms, or `timeoutMs` from now. One of the two is required. */
  readonly deadlineMs?: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly metadata?: Metadata;
}

type ClientConstructor<C> = new (
  address: string,
  channelCredentials: ChannelCredentials,
  options?: Partial<ClientOptions>,
) => C;

export interface ConnectOptions extends Partial<ClientOptions> {
  /** Default: without TLS. */
  readonly tls?: { readonly channelCredentials: ChannelCredentials } | undefined;
}

/** A channel that reconnects quickly and takes messages up to 64 MB. `options` come on top. */
export function connect<C>(
  Stub: ClientConstructor<C>,
  address: string,
  { tls, ...options }: ConnectOptions = {},
): C {
  return new Stub(address, tls?.channelCredentials ?? credentials.createInsecure(), {
    "grpc.max_receive_message_length": 64 * 1024 * 1024,
    "grpc.max_send_message_length": 64 * 1024 * 1024,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 5_000,
    // Each client has connections of its own: a dead one is not shared with others.
    "grpc.use_local_subchannel_pool": 1,
    ...options,
  });
}

type UnaryMethod<Q, R> = (
  request: Q,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: R) => void,
) => ClientUnaryCall;

function callOptions(call: OutgoingCall): { deadline: number } {
  return { deadline: call.deadlineMs ?? Date.now() + (call.timeoutMs ?? 30_000) };
}

/**
 * One unary call: `unary(index, index.getLibrary, request, { timeoutMs: 5_000 })`.
 * @throws ArrwError with the server's code, reason and details
 */
export function unary<Q, R>(
  client: Client,
  method: UnaryMethod<Q, R>,
  request: Q,
  call: OutgoingCall,
): Promise<R> {
  return new Promise((resolve, reject) => {
    const { signal } = call;
    if (signal?.aborted) return reject(toArrwError(signal.reason));
    const metadata = call.metadata ?? new MetadataClass();
    const running = method.call(client, request, metadata, callOptions(call), (error, response) => {
      signal?.removeEventListener("abort", onAbort);
      if (!error) return resolve(response);
      reject(signal?.aborted ? toArrwError(signal.reason) : fromServiceError(error));
    });
    const onAbort = (): void => running.cancel();
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

const asIs = (bytes: Buffer): Buffer => bytes;

/**
 * One unary call that neither encodes nor decodes: `unaryBytes(scheduler, SchedulerServiceService.getJob.path, ...)`.
 * A service that hands a message on pays for no codec.
 * @throws ArrwError with the server's code, reason and details
 */
export function unaryBytes(
  client: Client,
  path: string,
  request: Buffer,
  call: OutgoingCall,
): Promise<Buffer> {
  const method: UnaryMethod<Buffer, Buffer> = (message, metadata, options, callback) =>
    client.makeUnaryRequest(path, asIs, asIs, message, metadata, options, (error, response) =>
      callback(error, response ?? Buffer.alloc(0)),
    );
  return unary(client, method, request, call);
}

type StreamMethod<Q, R> = (
  request: Q,
  metadata: Metadata,
  options: Partial<CallOptions>,
) => ClientReadableStream<R>;

/** A server stream as an async iterable; leaving the loop cancels the call. */
export async function* serverStream<Q, R>(
  client: Client,
  method: StreamMethod<Q, R>,
  request: Q,
  call: OutgoingCall & { readonly unbounded?: boolean },
): AsyncGenerator<R> {
  const { signal } = call;
  if (signal?.aborted) throw toArrwError(signal.reason);
  const options = call.unbounded ? {} : callOptions(call);
  const stream = method.call(client, request, call.metadata ?? new MetadataClass(), options);
  const onAbort = (): void => stream.cancel();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    for await (const message of stream) yield message as R;
  } catch (error) {
    if (signal?.aborted) throw toArrwError(signal.reason);
    throw isServiceError(error) ? fromServiceError(error) : toArrwError(error);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    stream.cancel();
  }
}

/** A server stream that neither encodes nor decodes, see `unaryBytes`. */
export function serverStreamBytes(
  client: Client,
  path: string,
  request: Buffer,
  call: OutgoingCall & { readonly unbounded?: boolean },
): AsyncGenerator<Buffer> {
  const method: StreamMethod<Buffer, Buffer> = (message, metadata, options) =>
    client.makeServerStreamRequest(path, asIs, asIs, message, metadata, options);
  return serverStream(client, method, request, call);
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error;
}

/** Why the channel is not connected now, undefined = it is; starts connecting if it was idle. */
export function channelUnready(client: Client): string | undefined {
  const state = client.getChannel().getConnectivityState(true);
  return state === connectivityState.READY ? undefined : "not connected";
}

/** Resolves when the channel is connected. @throws UNAVAILABLE after `timeoutMs` */
export function waitForReady(client: Client, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    client.waitForReady(Date.now() + timeoutMs, (error) => {
      if (error) reject(unavailable(error.message, { cause: error }));
      else resolve();
    });
  });
}

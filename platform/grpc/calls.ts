import type {
  handleUnaryCall,
  Metadata,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ArrwError, toArrwError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { Outgoing } from "./outgoing.ts";
import { toStatus } from "./status.ts";
import { untilAborted } from "./until-aborted.ts";

/**
 * gRPC services from async functions. grpc-js must never see a bare async handler (a rejection leaves the client
 * hanging), so `implement` wraps each one: errors become a status with details, a cancelled or expired call aborts
 * `signal`, streams honour back-pressure, and a stopping server ends its streams with UNAVAILABLE.
 */

/** Who is at the other end of the connection. */
export interface Peer {
  /** IP address, or "unknown". */
  readonly address: string;
  /** Of the certificate that was asked for and verified (mTLS); undefined: there is none. */
  readonly certificateSubject: string | undefined;
}

/** What a handler may know of its call. */
export interface CallContext {
  readonly peer: Peer;
  /** Aborted when the client went away, the deadline passed or the server stops. */
  readonly signal: AbortSignal;
  /** Unix ms; the client's, or now + the server's default. */
  readonly deadlineMs: number;
  /** First value of a request header. */
  header(name: string): string | undefined;
}

/** A response may be given encoded: a Buffer is sent as it is. */
type Encoded<T> = T | Buffer;
type Unary<Q, R, C = CallContext> = (request: Q, context: C) => Promise<Encoded<R>>;
type ServerStream<Q, R, C = CallContext> = (request: Q, context: C) => AsyncIterable<Encoded<R>>;
type ClientStream<Q, R, C = CallContext> = (requests: AsyncIterable<Q>, context: C) => Promise<Encoded<R>>;
type BothStreams<Q, R, C = CallContext> = (
  requests: AsyncIterable<Q>,
  context: C,
) => AsyncIterable<Encoded<R>>;

export interface MethodShape {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
  // biome-ignore lint/suspicious/noExplicitAny: the generated serializers are contravariant in their message
  readonly responseSerialize: (value: any) => Buffer;
}
type RequestOf<M extends MethodShape> = ReturnType<M["requestDeserialize"]>;
type ResponseOf<M extends MethodShape> = Parameters<M["responseSerialize"]>[0];

/** The handlers of a generated service definition, each by the kind of its method; `C` is what they know of a call. */
export type Handlers<S extends Record<string, MethodShape>, C = CallContext> = {
  readonly [K in keyof S]: S[K]["requestStream"] extends true
    ? S[K]["responseStream"] extends true
      ? BothStreams<RequestOf<S[K]>, ResponseOf<S[K]>, C>
      : ClientStream<RequestOf<S[K]>, ResponseOf<S[K]>, C>
    : S[K]["responseStream"] extends true
      ? ServerStream<RequestOf<S[K]>, ResponseOf<S[K]>, C>
      : Unary<RequestOf<S[K]>, ResponseOf<S[K]>, C>;
};

/** A service ready to be served. */
export interface ImplementedService {
  readonly definition: ServiceDefinition;
  bind(runtime: CallRuntime): UntypedServiceImplementation;
}

export interface CallRuntime {
  readonly log: Logger;
  /** All calls, for the server to end. */
  readonly running: Set<AbortController>;
  /** Why calls are not begun any more. */
  stopping(): ArrwError | undefined;
  readonly defaultTimeoutMs: number;
  complete(error: ArrwError): ArrwError;
  observe(method: string, code: string, seconds: number): void;
}

/** Reports a call's end. */
export function reportEnd(
  { observe, log }: Pick<CallRuntime, "observe" | "log">,
  method: string,
  startedAt: number,
  error?: ArrwError,
): void {
  observe(method, error?.code ?? "OK", (performance.now() - startedAt) / 1000);
  if (error?.code === "INTERNAL") log.error({ err: error.cause ?? error, method }, "call failed");
}

/** Joins a generated service definition (`JobServiceService`) with its handlers. */
export function implement<S extends Record<string, MethodShape>>(
  service: S,
  handlers: Handlers<S>,
): ImplementedService {
  const passThrough = Object.entries(service).map(([name, method]) => {
    const encode = method.responseSerialize;
    return [
      name,
      { ...method, responseSerialize: (v: unknown) => (Buffer.isBuffer(v) ? v : encode(v)) },
    ] as const;
  });
  return {
    definition: Object.fromEntries(passThrough) as unknown as ServiceDefinition,
    bind: (runtime) =>
      Object.fromEntries(
        Object.entries(service).map(([name, method]) => {
          const handler = (handlers as Record<string, unknown>)[name];
          if (method.requestStream && method.responseStream)
            return [name, bindBothStreams(handler as BothStreams<unknown, unknown>, method, runtime)];
          if (method.requestStream)
            return [name, bindClientStream(handler as ClientStream<unknown, unknown>, method, runtime)];
          if (method.responseStream)
            return [name, bindServerStream(handler as ServerStream<unknown, unknown>, method, runtime)];
          return [name, bindUnary(handler as Unary<unknown, unknown>, method, runtime)];
        }),
      ) as UntypedServiceImplementation,
  };
}

type AnyCall =
  | ServerUnaryCall<unknown, unknown>
  | ServerReadableStream<unknown, unknown>
  | ServerWritableStream<unknown, unknown>
  | ServerDuplexStream<unknown, unknown>;

/** A call that runs. There may be tens of thousands: what each holds is few objects. */
class OpenCall {
  readonly context: CallContext;
  readonly #method: MethodShape;
  readonly #runtime: CallRuntime;
  readonly #abort = new AbortController();
  readonly #startedAt = performance.now();
  /** Unix ms; Infinity = the client set none. */
  readonly #askedDeadlineMs: number;

  constructor(call: AnyCall, method: MethodShape, runtime: CallRuntime) {
    this.#method = method;
    this.#runtime = runtime;
    const given = call.getDeadline();
    this.#askedDeadlineMs = given instanceof Date ? given.getTime() : given;
    this.context = {
      peer: peerOf(call),
      signal: this.#abort.signal,
      deadlineMs: Number.isFinite(this.#askedDeadlineMs)
        ? this.#askedDeadlineMs
        : Date.now() + runtime.defaultTimeoutMs,
      header: (name) => firstText(call.metadata, name),
    };
    // Comes once, after whatever ended the call.
    (call as ServerUnaryCall<unknown, unknown>).on("cancelled", () => this.#abort.abort(this.#whyOver()));
    const stopping = runtime.stopping();
    if (stopping) this.#abort.abort(stopping);
    else runtime.running.add(this.#abort);
  }

  /** Reports the call's end. */
  close(error?: ArrwError): void {
    this.#runtime.running.delete(this.#abort);
    reportEnd(this.#runtime, this.#method.path, this.#startedAt, error);
  }

  /** The same for a call that failed. @returns what grpc-js takes as its error */
  fail(thrown: unknown): ReturnType<typeof toStatus> {
    const { signal } = this.context;
    const error = this.#runtime.complete(toArrwError(signal.aborted ? signal.reason : thrown));
    this.close(error);
    return toStatus(error);
  }

  /** grpc-js doesn't say. */
  #whyOver(): ArrwError {
    return Date.now() >= this.#askedDeadlineMs
      ? new ArrwError("DEADLINE_EXCEEDED", "the call's deadline has passed")
      : new ArrwError("CANCELLED", "the client cancelled the call");
  }
}

export function firstText(metadata: Metadata, header: string): string | undefined {
  const value = metadata.get(header)[0];
  return typeof value === "string" ? value : undefined;
}

export function peerOf(call: Pick<AnyCall, "getPeer" | "getAuthContext">): Peer {
  const peer = call.getPeer();
  const subject = call.getAuthContext().sslPeerCertificate?.subject;
  const address = peer.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  return { address, certificateSubject: subject && String(subject.CN ?? JSON.stringify(subject)) };
}

function bindUnary(
  handler: Unary<unknown, unknown>,
  method: MethodShape,
  runtime: CallRuntime,
): handleUnaryCall<unknown, unknown> {
  return (call, callback) => {
    const running = new OpenCall(call, method, runtime);
    const { context } = running;
    invoke(() => handler(call.request, context)).then(
      (response) => {
        running.close();
        callback(null, response);
      },
      (thrown: unknown) => callback(running.fail(thrown)),
    );
  };
}

function bindServerStream(
  handler: ServerStream<unknown, unknown>,
  method: MethodShape,
  runtime: CallRuntime,
) {
  return (call: ServerWritableStream<unknown, unknown>): void =>
    respond(call, method, runtime, (context) => handler(call.request, context));
}

function bindBothStreams(handler: BothStreams<unknown, unknown>, method: MethodShape, runtime: CallRuntime) {
  return (call: ServerDuplexStream<unknown, unknown>): void =>
    respond(call, method, runtime, (context) => handler(untilAborted(call, context.signal), context));
}

function respond(
  call: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>,
  method: MethodShape,
  runtime: CallRuntime,
  responses: (context: CallContext) => AsyncIterable<unknown>,
): void {
  const running = new OpenCall(call, method, runtime);
  const { context } = running;
  const run = async (): Promise<void> => {
    const outgoing = new Outgoing(call, context.signal);
    for await (const message of responses(context)) {
      if (context.signal.aborted) throw context.signal.reason;
      const full = outgoing.write(Buffer.isBuffer(message) ? message : method.responseSerialize(message));
      if (full) await outgoing.room();
    }
    if (context.signal.aborted) throw context.signal.reason;
  };
  run().then(
    () => {
      running.close();
      call.end();
    },
    (thrown: unknown) => call.emit("error", running.fail(thrown)),
  );
}

function bindClientStream(
  handler: ClientStream<unknown, unknown>,
  method: MethodShape,
  runtime: CallRuntime,
) {
  return (
    call: ServerReadableStream<unknown, unknown>,
    callback: (error: unknown, value?: unknown) => void,
  ): void => {
    const running = new OpenCall(call, method, runtime);
    const { context } = running;
    // A stream that breaks, or a stopping server, must end the handler's iteration.
    context.signal.addEventListener("abort", () => call.destroy(context.signal.reason), { once: true });
    call.on("error", () => undefined);
    invoke(() => handler(call, context)).then(
      (response) => {
        running.close();
        callback(null, response);
      },
      (thrown: unknown) => callback(running.fail(thrown)),
    );
  };
}

/** A synchronous throw counts as a rejection. */
async function invoke<T>(run: () => Promise<T>): Promise<T> {
  return run();
}

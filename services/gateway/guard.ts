import { ArrwError, toArrwError } from "../../platform/errors.ts";
import type { CallContext, Handlers, MethodShape } from "../../platform/grpc/server.ts";
import { Counter, type Registry } from "../../platform/metrics.ts";
import type { AuditLog } from "./access/audit-log.ts";
import { type Facts, requestFacts, responseFacts } from "./access/audited.ts";
import { type Authenticator, type Credentials, unauthenticated } from "./access/authenticator.ts";
import type { Caller } from "./access/caller.ts";
import type { ClientUse, ClientUses } from "./access/limits.ts";
import { ACCESS, type Access, type Method, refusalOf } from "./domain/access.ts";
import type { Principal } from "./domain/principal.ts";

/** What the gateway's handlers know of a call: who makes it, too. */
export interface GatewayContext extends CallContext {
  readonly principal: Principal;
}

export interface GuardOptions {
  readonly authenticator: Authenticator;
  readonly clients: ClientUses;
  readonly audit: AuditLog;
  readonly registry: Registry;
}

type AnyHandler = (request: unknown, context: GatewayContext) => unknown;
type Single = (request: unknown, context: GatewayContext) => Promise<unknown>;
type Stream = (request: unknown, context: GatewayContext) => AsyncIterable<unknown>;

interface Guarded {
  readonly method: Method;
  readonly access: Access;
  /** In one direction or both: it may take long. */
  readonly streams: boolean;
  readonly requestStream: boolean;
}

/** A call that was let in. */
interface Entered {
  readonly caller: Caller;
  readonly use: ClientUse;
}

/**
 * Stands before every handler of the public API, whichever door the call came through: who calls, whether they may, how
 * much of it, and a line in the audit log.
 */
export class Guard {
  readonly #authenticator: Authenticator;
  readonly #clients: ClientUses;
  readonly #audit: AuditLog;
  readonly #refused: Counter<"reason">;

  constructor({ authenticator, clients, audit, registry }: GuardOptions) {
    this.#authenticator = authenticator;
    this.#clients = clients;
    this.#audit = audit;
    this.#refused = new Counter({
      name: "arrw_gateway_refused_total",
      help: "Calls refused before their handler, by reason",
      labelNames: ["reason"],
      registers: [registry],
    });
  }

  /** Does everybody have to show credentials? */
  get authenticates(): boolean {
    return this.#authenticator.required;
  }

  /**
   * Who calls what is no method of the API, or before a method's request is read: then `rpc` names it ("JobService.GetJob"),
   * for the audit log. A promise only when a signature has to be verified. @throws ArrwError UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED
   */
  authenticate(call: Credentials, rpc = ""): Principal | Promise<Principal> {
    const refuse = (thrown: unknown): never => {
      const error = this.#counted(thrown);
      const name = rpc.slice(rpc.indexOf(".") + 1);
      const method = `${name.slice(0, 1).toLowerCase()}${name.slice(1)}`;
      if (error.code === "UNAUTHENTICATED" && method in ACCESS)
        this.#audit.record({
          method: method as Method,
          context: call,
          caller: undefined,
          facts: {},
          error,
          milliseconds: 0,
        });
      throw error;
    };
    try {
      const identified = this.#authenticator.identify(call);
      return identified instanceof Promise ? identified.catch(refuse) : identified;
    } catch (thrown) {
      return refuse(thrown);
    }
  }

  /** The handlers as both doors call them. */
  wrap<S extends Record<string, MethodShape>>(
    service: S,
    handlers: Handlers<S, GatewayContext>,
  ): Handlers<S> {
    const wrapped = Object.entries(service).map(([name, { requestStream, responseStream }]) => {
      const handler = (handlers as Record<string, unknown>)[name] as AnyHandler;
      const access = (ACCESS as Readonly<Record<string, Access>>)[name];
      if (access === undefined) throw new Error(`domain/access.ts does not say who may call ${name}`);
      const streams = requestStream || responseStream;
      const guarded: Guarded = { method: name as Method, access, streams, requestStream };
      return [
        name,
        responseStream ? this.#stream(guarded, handler as Stream) : this.#single(guarded, handler as Single),
      ] as const;
    });
    return Object.fromEntries(wrapped) as unknown as Handlers<S>;
  }

  #single(guarded: Guarded, handler: Single): (request: unknown, context: CallContext) => Promise<unknown> {
    const { access, streams } = guarded;
    return async (request, context) => {
      const startedAt = performance.now();
      const entering = this.#enter(guarded, context);
      const { caller, use } = entering instanceof Promise ? await entering : entering;
      const source = guarded.requestStream ? this.#whileAllowed(request, caller, context) : request;
      const audited = access.mutates ? new Audited(guarded, source) : undefined;
      let response: unknown;
      let failure: ArrwError | undefined;
      try {
        response = await handler(audited?.request ?? source, { ...context, principal: caller });
        return response;
      } catch (error) {
        failure = toArrwError(streams && context.signal.aborted ? context.signal.reason : error);
        throw error;
      } finally {
        this.#clients.end(use, streams);
        if (audited) {
          const milliseconds = performance.now() - startedAt;
          const facts = audited.facts(response);
          this.#audit.record({
            method: guarded.method,
            context,
            caller,
            facts,
            error: failure,
            milliseconds,
          });
        }
      }
    };
  }

  /** None of the methods that answer with a stream changes anything. */
  #stream(
    guarded: Guarded,
    handler: Stream,
  ): (request: unknown, context: CallContext) => AsyncIterable<unknown> {
    const enter = (context: CallContext) => this.#enter(guarded, context);
    const authenticator = this.#authenticator;
    const clients = this.#clients;
    return async function* (request, context) {
      const { caller, use } = await enter(context);
      let version = authenticator.version;
      try {
        for await (const message of handler(request, { ...context, principal: caller })) {
          // What is sent after a key was taken away would be sent to anybody.
          if (version !== authenticator.version || caller.expiresAtMs <= Date.now()) {
            version = authenticator.version;
            requireSame(caller, await authenticator.identify(context));
          }
          yield message;
        }
      } finally {
        clients.end(use, true);
      }
    };
  }

  /** The same messages, as long as the credentials are accepted: an upload may take days, in which a key is taken away. */
  #whileAllowed(messages: unknown, caller: Caller, context: CallContext): AsyncIterable<unknown> {
    const authenticator = this.#authenticator;
    let { version } = authenticator;
    const checked = async (result: IteratorResult<unknown>): Promise<IteratorResult<unknown>> => {
      version = authenticator.version;
      requireSame(caller, await authenticator.identify(context));
      return result;
    };
    return {
      [Symbol.asyncIterator]() {
        const iterator = (messages as AsyncIterable<unknown>)[Symbol.asyncIterator]();
        return {
          // The end is one, too: it submits what has come.
          next: () =>
            iterator.next().then((result) => (version === authenticator.version ? result : checked(result))),
          return: async (value) => (await iterator.return?.(value)) ?? { done: true, value },
        };
      },
    };
  }

  /** A promise only when a signature has to be verified. */
  #enter(guarded: Guarded, context: CallContext): Entered | Promise<Entered> {
    let caller: Caller | undefined;
    const admit = (identified: Caller): Entered => {
      caller = identified;
      return this.#admit(guarded, identified);
    };
    const refuse = (thrown: unknown): never => {
      const error = this.#counted(thrown);
      const tried = guarded.access.mutates || error.code === "UNAUTHENTICATED";
      if (tried && error.code !== "RESOURCE_EXHAUSTED")
        this.#audit.record({ method: guarded.method, context, caller, facts: {}, error, milliseconds: 0 });
      throw error;
    };
    try {
      const identified = this.#authenticator.identify(context);
      return identified instanceof Promise ? identified.then(admit).catch(refuse) : admit(identified);
    } catch (error) {
      return refuse(error);
    }
  }

  #admit({ access, streams }: Guarded, caller: Caller): Entered {
    const use = this.#clients.count(caller.client);
    const refusal = refusalOf(caller, access);
    if (refusal !== undefined) throw denied(refusal, caller, access);
    this.#clients.begin(use, streams);
    return { caller, use };
  }

  #counted(thrown: unknown): ArrwError {
    const error = toArrwError(thrown);
    this.#refused.inc({ reason: error.reason });
    return error;
  }
}

/** The request of a call that is audited, and what it says. */
class Audited {
  readonly #method: Method;
  /** Undefined = the header of a stream has not come. */
  #subject: unknown;
  /** For the handler. */
  readonly request: unknown;

  constructor({ method, requestStream }: Guarded, request: unknown) {
    this.#method = method;
    if (!requestStream) this.#subject = request;
    this.request = requestStream
      ? withFirst(request as AsyncIterable<unknown>, (first) => {
          this.#subject = (first as { readonly header?: unknown }).header;
        })
      : request;
  }

  facts(response: unknown): Facts {
    return { ...requestFacts(this.#subject), ...responseFacts(this.#method, response) };
  }
}

/** The same messages; the first one is shown to `see`. Those behind it are not touched: there may be millions. */
function withFirst(messages: AsyncIterable<unknown>, see: (first: unknown) => void): AsyncIterable<unknown> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = messages[Symbol.asyncIterator]();
      let next = async (): Promise<IteratorResult<unknown>> => {
        next = () => iterator.next();
        const first = await iterator.next();
        if (!first.done) see(first.value);
        return first;
      };
      return {
        next: () => next(),
        return: async (value) => (await iterator.return?.(value)) ?? { done: true, value },
      };
    },
  };
}

function denied(reason: "ROLE_TOO_LOW" | "CONFINED_TO_LIBRARIES", caller: Caller, access: Access): ArrwError {
  const low = reason === "ROLE_TOO_LOW";
  const message = low
    ? `the call needs role ${access.role}; these credentials have ${caller.role}`
    : "the call concerns all libraries; these credentials are for some of them";
  const metadata = low ? { role: caller.role, needed_role: access.role } : {};
  return new ArrwError("PERMISSION_DENIED", message, { reason, metadata });
}

/** @throws ArrwError UNAUTHENTICATED when the credentials of a stream have come to mean something else */
function requireSame(before: Caller, now: Caller): void {
  const same =
    before.client === now.client &&
    before.role === now.role &&
    JSON.stringify(before.libraries) === JSON.stringify(now.libraries);
  if (!same) throw unauthenticated("CREDENTIALS_INVALID");
}

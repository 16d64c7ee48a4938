import type { CallContext, Handlers, MethodShape } from "../../platform/grpc/server.ts";
import type { Principal } from "./domain/principal.ts";

/** What the gateway's handlers know of a call: who makes it, too. */
export interface GatewayContext extends CallContext {
  readonly principal: Principal;
}

type AnyHandler = (request: unknown, context: GatewayContext) => unknown;

/** Stands before every handler of the public API, whichever door the call came through. */
export class Guard {
  /** The handlers as both doors call them. */
  wrap<S extends Record<string, MethodShape>>(
    service: S,
    handlers: Handlers<S, GatewayContext>,
  ): Handlers<S> {
    const wrapped = Object.keys(service).map((name) => {
      const handler = (handlers as Record<string, unknown>)[name] as AnyHandler;
      const guarded = (request: unknown, context: CallContext): unknown =>
        handler(request, { ...context, principal: this.#principal(context) });
      return [name, guarded] as const;
    });
    return Object.fromEntries(wrapped) as unknown as Handlers<S>;
  }

  #principal({ peer }: CallContext): Principal {
    return { name: peer.address, role: "admin", libraries: undefined };
  }
}

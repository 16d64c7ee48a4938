import type { Handler, Kind } from "./handler.ts";

/** The handlers of this worker by job type. */
export class HandlerRegistry {
  readonly #handlers = new Map<string, Handler>();

  /** @throws Error when the type is taken */
  add<K extends Kind>(handler: Handler<K>): this {
    if (this.#handlers.has(handler.type)) throw new Error(`two handlers for job type ${handler.type}`);
    // An attempt hands a handler only specs of its own kind.
    this.#handlers.set(handler.type, handler as unknown as Handler);
    return this;
  }

  get(type: string): Handler | undefined {
    return this.#handlers.get(type);
  }

  get types(): string[] {
    return [...this.#handlers.keys()];
  }
}

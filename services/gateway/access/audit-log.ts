import { once as onceEvent } from "node:events";
import { pino } from "pino";
import type { ArrwError } from "../../../platform/errors.ts";
import type { CallContext } from "../../../platform/grpc/server.ts";
import type { Part } from "../../../platform/lifecycle.ts";
import { createLog, type Logger } from "../../../platform/log.ts";
import type { Method } from "../domain/access.ts";
import type { Facts } from "./audited.ts";
import type { Caller } from "./caller.ts";

export interface AuditEntry {
  readonly method: Method;
  readonly context: Pick<CallContext, "peer">;
  /** undefined = it could not be told. */
  readonly caller: Caller | undefined;
  readonly facts: Facts;
  /** undefined = OK. */
  readonly error: ArrwError | undefined;
  readonly milliseconds: number;
}

type Destination = ReturnType<typeof pino.destination>;
const OWNER_ONLY = 0o600;

/**
 * Who changed what: a line for each mutating call after it ended, in the log of the process or in a file of its own, where
 * whatever ARRW_LOG_LEVEL says it is written.
 */
export class AuditLog implements Part {
  readonly name = "audit log";
  readonly #file: string;
  readonly #log: Logger;
  #lines: Logger | undefined;
  #destination: Destination | undefined;

  /** @param file "" = the log of the process */
  constructor(file: string, log: Logger) {
    this.#file = file;
    this.#log = log;
  }

  /** @throws Error when the file can't be written */
  async start(): Promise<void> {
    if (this.#file === "") {
      const level = this.#log.level === "silent" ? "silent" : "info";
      this.#lines = this.#log.child({ audit: true }, { level });
      return;
    }
    const destination = pino.destination({ dest: this.#file, append: true, mode: OWNER_ONLY, sync: false });
    try {
      await onceEvent(destination, "ready");
    } catch (error) {
      throw new Error(`${this.#file} can't be written: ${String(error)}`);
    }
    // A full disk stops nobody's work; that lines are missing is said where others are.
    destination.on("error", (error) => this.#log.error({ err: error }, "audit lines are lost"));
    this.#destination = destination;
    this.#lines = createLog("gateway", "info", destination).child({ audit: true });
  }

  /** Returns when all lines are written. */
  async stop(): Promise<void> {
    const destination = this.#destination;
    this.#destination = undefined;
    this.#lines = undefined;
    if (!destination) return;
    const closed = onceEvent(destination, "close");
    destination.end();
    await closed.catch(() => undefined);
  }

  record({ method, context, caller, facts, error, milliseconds }: AuditEntry): void {
    const { address, certificateSubject } = context.peer;
    const name = `${method.slice(0, 1).toUpperCase()}${method.slice(1)}`;
    const outcome = error?.code ?? "OK";
    this.#lines?.info(
      {
        method: name,
        principal: caller?.name,
        role: caller?.role,
        by: caller?.by,
        address,
        certificate: certificateSubject,
        ...facts,
        outcome,
        reason: error?.reason,
        ms: Math.round(milliseconds * 10) / 10,
      },
      `${name} ${outcome}`,
    );
  }
}

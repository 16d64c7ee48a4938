import type { ClientError, ClientErrorCode, Violation } from "../client/index.ts";

/** How commands end when they can't do what was asked. */

/** What `arrw` ends with; `arrw help exit-codes` says the same. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  refused: 5,
  interrupted: 130,
} as const;

export const EXIT_MEANINGS: readonly (readonly [code: number, meaning: string])[] = [
  [EXIT.ok, "done; a watched job completed"],
  [EXIT.failed, "a watched job failed or was cancelled; or an error that none of the others is"],
  [EXIT.usage, "a command, an option or an input that is wrong"],
  [EXIT.unreachable, "the gateway is not reachable, or can't answer now: try again later"],
  [EXIT.notFound, "no such job, library, document or worker"],
  [EXIT.refused, "not without a key, or not with this one"],
  [EXIT.interrupted, "Ctrl-C; a job that was watched goes on"],
];

export interface FailureOptions {
  readonly exitCode?: number;
  /** For programs; see ClientError. */
  readonly code?: string;
  readonly reason?: string;
  readonly violations?: readonly Violation[];
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** What a user is told, in words for them, and what a program is told with --json. */
export class Failure extends Error {
  readonly exitCode: number;
  readonly code: string;
  readonly reason: string;
  readonly violations: readonly Violation[];
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "Failure";
    this.exitCode = options.exitCode ?? EXIT.failed;
    this.code = options.code ?? "FAILED";
    this.reason = options.reason ?? this.code;
    this.violations = options.violations ?? [];
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** A command, an option or an input that is wrong. */
export class UsageError extends Failure {
  constructor(message: string, cause?: unknown) {
    super(message, { exitCode: EXIT.usage, code: "INVALID_ARGUMENT", reason: "USAGE", cause });
  }
}

const CODES: Partial<Record<ClientErrorCode, number>> = {
  INVALID_ARGUMENT: EXIT.usage,
  OUT_OF_RANGE: EXIT.usage,
  UNAVAILABLE: EXIT.unreachable,
  DEADLINE_EXCEEDED: EXIT.unreachable,
  RESOURCE_EXHAUSTED: EXIT.unreachable,
  NOT_FOUND: EXIT.notFound,
  UNAUTHENTICATED: EXIT.refused,
  PERMISSION_DENIED: EXIT.refused,
};

export function exitCodeOf({ code }: Pick<ClientError, "code">): number {
  return CODES[code] ?? EXIT.failed;
}

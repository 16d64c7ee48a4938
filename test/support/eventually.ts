import { setTimeout as delay } from "node:timers/promises";

export interface EventuallyOptions {
  /** Default 10,000. */
  readonly timeoutMs?: number;
  /** Default 20. */
  readonly intervalMs?: number;
  /** What is waited for, for the error's text. */
  readonly what?: string;
}

/**
 * Polls until the condition gives something truthy, and returns that. A condition that throws (a failed assertion) is
 * tried again.
 * @throws the condition's last error, or one that says what was waited for, at the deadline
 */
export async function eventually<T>(
  condition: () => T | Promise<T>,
  options: EventuallyOptions = {},
): Promise<NonNullable<T>> {
  const { timeoutMs = 10_000, intervalMs = 20, what = "the condition" } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let failure: unknown;
    try {
      const value = await condition();
      if (value) return value;
    } catch (error) {
      failure = error;
    }
    if (performance.now() >= deadline) {
      throw failure ?? new Error(`${what} did not come true within ${timeoutMs} ms`);
    }
    await delay(intervalMs);
  }
}

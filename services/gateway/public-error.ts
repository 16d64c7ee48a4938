import { ArrwError, unavailable } from "../../platform/errors.ts";
import { isAway } from "./repeat.ts";

/** What clients get of an error, through either door: nobody has to guess when to try again, or what wasn't found. */

const RETRY_AFTER_MS = 1_000;
/** Nothing has to pass before another attempt. */
const AT_ONCE_MS = 0;
/** Of RESOURCE_EXHAUSTED, but the same again would fail again. */
const NEVER_FITS: readonly string[] = ["MESSAGE_TOO_LARGE", "DOCUMENT_TOO_LARGE"];

export function publicError(error: ArrwError): ArrwError {
  const known = brokenOff(error) ?? error;
  const retryAfterMs = known.retryAfterMs ?? retryDelayMs(known);
  const resource =
    known.resource ?? (known.code === "NOT_FOUND" ? { type: typeOf(known), name: "" } : undefined);
  if (retryAfterMs === known.retryAfterMs && resource === known.resource) return known;
  const { code, message, reason, metadata, violations, cause } = known;
  return new ArrwError(code, message, {
    reason,
    metadata,
    violations,
    cause,
    ...(resource ? { resource } : {}),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** A service that went away in the midst of a call looks like a call that was cancelled, which nobody did. */
function brokenOff(error: ArrwError): ArrwError | undefined {
  if (error.code === "UNAVAILABLE" || error.cause === undefined || !isAway(error)) return undefined;
  return unavailable("a service went away in the midst of the call", { cause: error });
}

function retryDelayMs({ code, reason }: ArrwError): number | undefined {
  switch (code) {
    case "UNAVAILABLE":
      return RETRY_AFTER_MS;
    case "RESOURCE_EXHAUSTED":
      if (reason === "WATCHER_TOO_SLOW") return AT_ONCE_MS;
      return NEVER_FITS.includes(reason) ? undefined : RETRY_AFTER_MS;
    case "ABORTED":
      return AT_ONCE_MS;
    case "FAILED_PRECONDITION":
      return reason === "FENCE_OPEN" ? RETRY_AFTER_MS : undefined;
    default:
      return undefined;
  }
}

/** "job" of JOB_NOT_FOUND. */
function typeOf({ reason }: ArrwError): string {
  return reason.replace(/_?NOT_FOUND$/, "").toLowerCase();
}

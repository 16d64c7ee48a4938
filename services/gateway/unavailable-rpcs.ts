import { ArrwError } from "../../platform/errors.ts";

/** What calls answer that a later version brings. */
export function notAvailable(method: string): ArrwError {
  return new ArrwError("UNIMPLEMENTED", `${method} is not available in this version`);
}

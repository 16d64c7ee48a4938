import type { Principal } from "../domain/principal.ts";

/** A principal with what the guard knows beside. */
export interface Caller extends Principal {
  /** How it has proven who it is; "none" = nobody asked. */
  readonly by: "api_key" | "jwt" | "certificate" | "none";
  /** Whose limits count: those of the same name by another way have their own. */
  readonly client: string;
  /** Unix ms; Infinity = it counts as long as it stands in the file. */
  readonly expiresAtMs: number;
}

import type { EmbeddingPurpose } from "./provider.ts";

/** A parameter that some servers don't know or refuse; a call without it may do. */
export interface OptionalParameter {
  readonly name: string;
  /** What a server's complaint about it says. */
  readonly complaint: RegExp;
}

export interface EmbedRequest {
  readonly texts: readonly string[];
  readonly purpose: EmbeddingPurpose;
  readonly model: string;
  readonly dimensions: number;
  /** Names of optional parameters to leave out. */
  readonly without: ReadonlySet<string>;
}

/** How a kind of server is asked for vectors. */
export interface EmbeddingProtocol {
  readonly name: "openai" | "cohere";
  /** Texts that a call may have at most. */
  readonly maxTexts: number;
  readonly optional: readonly OptionalParameter[];
  url(baseUrl: string): string;
  body(request: EmbedRequest): unknown;
  /** The vectors in the order of the texts, each an array of numbers or base64 of float32; undefined = none are there. */
  vectors(answer: unknown): unknown[] | undefined;
}

/** `https://host/v1/` and `https://host` both lead to `https://host/v1/embeddings`. */
export function endpoint(baseUrl: string, version: string, path: string): string {
  const base = baseUrl.replace(/\/+$/, "");
  return base.endsWith(`/${version}`) ? `${base}/${path}` : `${base}/${version}/${path}`;
}

/** Member of a parsed JSON value; undefined when it has none. */
export function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

import { ArrwError } from "../errors.ts";
import type { EmbeddedTexts, EmbeddingProvider } from "./provider.ts";

/** For libraries whose clients send vectors: it has dimensions and embeds nothing. */
export class NoProvider implements EmbeddingProvider {
  readonly dimensions: number;
  readonly paid = false;

  constructor(dimensions: number) {
    this.dimensions = dimensions;
  }

  /** @throws ArrwError FAILED_PRECONDITION, reason VECTORS_NEEDED, unless there are no texts */
  async embed(texts: readonly string[]): Promise<Float32Array> {
    if (texts.length === 0) return new Float32Array(0);
    throw new ArrwError("FAILED_PRECONDITION", "this library takes vectors, not texts", {
      reason: "VECTORS_NEEDED",
    });
  }

  async embedEach(texts: readonly string[]): Promise<EmbeddedTexts> {
    return { rows: await this.embed(texts), refused: new Map() };
  }
}

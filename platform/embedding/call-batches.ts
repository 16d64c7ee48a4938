/** What one call may carry. */
export interface CallBounds {
  readonly maxTexts: number;
  readonly maxBytes: number;
}

/**
 * Cuts texts into calls: each has at most `maxTexts` texts and `maxBytes` of UTF-8, or is one larger text alone.
 * @returns places of the texts, in order
 */
export function callBatches(texts: readonly string[], { maxTexts, maxBytes }: CallBounds): number[][] {
  const batches: number[][] = [];
  let batch: number[] = [];
  let bytes = 0;
  for (const [place, text] of texts.entries()) {
    const size = Buffer.byteLength(text);
    if (batch.length > 0 && (batch.length >= maxTexts || bytes + size > maxBytes)) {
      batches.push(batch);
      batch = [];
      bytes = 0;
    }
    batch.push(place);
    bytes += size;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

/** Where an export goes on: what is before it is in the file, and durable. */
export interface ExportCheckpoint {
  /** The library as it was then; documents of two pins never get into one file. */
  readonly pin: number;
  /** Id of the last document. */
  readonly after: string;
  readonly documents: number;
  readonly chunks: number;
  /** Bytes of the file. */
  readonly sizeBytes: number;
  /** Who wrote which parts of it. */
  readonly pieces: readonly { readonly writer: string; readonly fromPart: number }[];
}

/** An attempt adds one; a checkpoint has at most 16 KiB. */
const MAX_PIECES = 200;

export function encodeExportCheckpoint(checkpoint: ExportCheckpoint): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(checkpoint));
}

/** The checkpoint, or undefined when the bytes are none that can be used: then starting over is right. */
export function decodeExportCheckpoint(bytes: Uint8Array): ExportCheckpoint | undefined {
  let value: Partial<ExportCheckpoint> | null;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes)) as Partial<ExportCheckpoint> | null;
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { pin, after, documents, chunks, sizeBytes, pieces } = value;
  if (![pin, documents, chunks, sizeBytes].every(isCount) || typeof after !== "string") return undefined;
  if (!Array.isArray(pieces) || pieces.length === 0 || pieces.length > MAX_PIECES) return undefined;
  const known = pieces.every(({ writer, fromPart }) => typeof writer === "string" && isCount(fromPart));
  return known ? (value as ExportCheckpoint) : undefined;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

import { z } from "zod";
import type { DocumentInput } from "../../client/index.ts";
import { UsageError } from "../failure.ts";

/** A document in JSON: {"texts": [...]} and what else is known, by the contract's names; vectors are arrays of numbers. */

const vector = z.union([z.array(z.number()), z.strictObject({ values: z.array(z.number()) })]);

const schema = z.strictObject({
  document_id: z.string().optional(),
  title: z.string().optional(),
  texts: z.array(z.string()).min(1),
  metadata: z.record(z.string(), z.unknown()).optional(),
  author: z.string().optional(),
  tags: z.array(z.string()).optional(),
  source_url: z.string().optional(),
  vectors: z.array(vector).optional(),
});

const SHOWN_PROBLEMS = 5;

/** @throws UsageError "<where>: <what is wrong>" */
export function documentOf(value: unknown, where: string): DocumentInput {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const problems = parsed.error.issues.slice(0, SHOWN_PROBLEMS).map(({ path, message }) => {
      return path.length > 0 ? `${path.join(".")}: ${message}` : message;
    });
    throw new UsageError(`${where}: ${problems.join("; ")}`);
  }
  const { document_id, title, texts, metadata, author, tags, source_url, vectors } = parsed.data;
  return {
    documentId: document_id ?? "",
    title: title ?? "",
    texts,
    ...(metadata ? { metadata } : {}),
    author: author ?? "",
    tags: tags ?? [],
    sourceUrl: source_url ?? "",
    vectors: (vectors ?? []).map((each) => ({ packed: packed(Array.isArray(each) ? each : each.values) })),
  };
}

function packed(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeFloatLE(value, i * 4);
  return bytes;
}

import { createReadStream } from "node:fs";
import { v5 as uuidv5 } from "uuid";
import type { DocumentInput } from "../../client/index.ts";
import { UsageError } from "../failure.ts";
import { bytes } from "../format.ts";
import { type EncodingOptions, readable } from "./encoding.ts";
import { declaredEncoding, readPage } from "./html.ts";

/** A file that is one document. */

/** Namespace of the namespaces of libraries; any fixed UUID would do. */
const ARRW_NAMESPACE = "6f4bd1a4-3c8c-5d0c-9a3e-0b1f6a2c7d55";

/** The id of a file's document: the same in every import of that path into that library. */
export function documentId(libraryId: string, path: string): string {
  return uuidv5(path, uuidv5(libraryId, ARRW_NAMESPACE));
}

/** A longer text leaves no room in a document for anything else. */
export const MAX_TEXT_BYTES = 3_900_000;
/** Of a page most may be markup. */
export const MAX_PAGE_BYTES = 20_000_000;

export interface TextOptions extends EncodingOptions {
  readonly libraryId: string;
}

/** A file's document, or why there is none. */
export async function fileDocument(
  options: TextOptions,
  file: string,
  path: string,
  format: "text" | "html",
): Promise<DocumentInput | string> {
  try {
    return await textDocument(options, path, format, createReadStream(file));
  } catch (error) {
    // One file that can't be read is no reason to import none.
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || error instanceof UsageError) throw error;
    return `it can't be read (${code})`;
  }
}

/** The text's document, or why there is none. @throws UsageError --encoding is none */
export async function textDocument(
  { libraryId, encoding }: TextOptions,
  path: string,
  format: "text" | "html",
  input: AsyncIterable<Uint8Array>,
): Promise<DocumentInput | string> {
  const most = format === "html" ? MAX_PAGE_BYTES : MAX_TEXT_BYTES;
  const given = encoding === undefined ? {} : { encoding };
  let content: Buffer;
  let text: string;
  try {
    const whole = await atMost(readable(input, path, given), most);
    if (!whole) return `more than ${bytes(most)}`;
    content = whole;
    if (content.includes(0)) return "it is not text";
    const label = format === "html" && encoding === undefined ? declaredEncoding(content) : undefined;
    text = decoded(content, label);
  } catch (error) {
    if (error instanceof UsageError && !error.message.startsWith("--"))
      return withoutPath(error.message, path);
    throw error;
  }
  const page = format === "html" ? readPage(text) : { title: "", text };
  if (page.text.trim() === "") return format === "html" ? "there is no text in it" : "it is empty";
  if (Buffer.byteLength(page.text) > MAX_TEXT_BYTES) return `more than ${bytes(MAX_TEXT_BYTES)} of text`;
  return { documentId: documentId(libraryId, path), title: page.title || path, texts: [page.text] };
}

/** undefined: there is more. */
async function atMost(input: AsyncIterable<Uint8Array>, most: number): Promise<Buffer | undefined> {
  const held: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of input) {
    size += chunk.length;
    if (size > most) return undefined;
    held.push(chunk);
  }
  return Buffer.concat(held, size);
}

function decoded(content: Uint8Array, label: string | undefined): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch (error) {
    // What a page declares may be wrong; that it is UTF-8 shows.
    if (label !== undefined) {
      try {
        return new TextDecoder(label, { fatal: true }).decode(content);
      } catch {
        throw new UsageError(`neither UTF-8 nor ${label}, as it says`, error);
      }
    }
    throw new UsageError("not UTF-8; --encoding says what it is", error);
  }
}

function withoutPath(message: string, path: string): string {
  return message.startsWith(`${path}: `) ? message.slice(path.length + 2) : message;
}

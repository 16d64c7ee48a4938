import { compile } from "html-to-text";

/** What there is to read in a page: without scripts, styles, pictures and the addresses of links. */

const toText = compile({
  wordwrap: false,
  selectors: [
    { selector: "a", options: { ignoreHref: true } },
    // A page that has no body tag is taken whole.
    { selector: "title", format: "skip" },
    { selector: "img", format: "skip" },
    { selector: "svg", format: "skip" },
    { selector: "noscript", format: "skip" },
    { selector: "template", format: "skip" },
    { selector: "ul", options: { itemPrefix: "- " } },
    { selector: "table", format: "dataTable", options: { uppercaseHeaderCells: false } },
    ...["h1", "h2", "h3", "h4", "h5", "h6"].map((selector) => ({ selector, options: { uppercase: false } })),
  ],
});
const toTitle = compile({
  wordwrap: false,
  baseElements: { selectors: ["title"], returnDomByDefault: false },
});

export interface Page {
  /** "" = it has none. */
  readonly title: string;
  readonly text: string;
}

export function readPage(html: string): Page {
  return { title: toTitle(html).replace(/\s+/g, " ").trim(), text: toText(html).trim() };
}

const DECLARED_WITHIN = 2_048;

/** The encoding that a page says it has; undefined = it doesn't, or it is UTF-8. */
export function declaredEncoding(head: Uint8Array): string | undefined {
  const text = Buffer.from(head.subarray(0, DECLARED_WITHIN)).toString("latin1");
  const label = /<meta\s[^>]*charset\s*=\s*["']?\s*([\w:.-]+)/i.exec(text)?.[1]?.toLowerCase();
  return label === "utf-8" || label === "utf8" ? undefined : label;
}

/** Cuts a text into chunks that a search can find and a person can read. */

export interface ChunkingOptions {
  /** Characters (UTF-16 code units) of a chunk at most, >= 1. Of a surrogate pair both halves stay together. */
  readonly size: number;
  /** Characters that a chunk repeats of the one before at most, 0..size - 1. */
  readonly overlap: number;
}

export interface Span {
  readonly start: number;
  /** Behind the last character. */
  readonly end: number;
}

/** How far a good place to cut is looked for; bounds the work in texts without any. */
const END_WINDOW = 2_000;
const START_WINDOW = 200;

/**
 * The chunks of a text as spans, in order: none is empty, every character is in at least one. A chunk ends behind a
 * sentence where there is one in its second half, else behind a word, else anywhere; the next one begins with a word.
 */
export function* chunkSpans(text: string, { size, overlap }: ChunkingOptions): Generator<Span> {
  let start = 0;
  while (text.length - start > size) {
    const end = chunkEnd(text, start, size, overlap);
    yield { start, end };
    if (end === text.length) return;
    start = nextStart(text, start, end, overlap);
  }
  if (start < text.length) yield { start, end: text.length };
}

function chunkEnd(text: string, start: number, size: number, overlap: number): number {
  const limit = start + size;
  // Behind the overlap, so that every chunk brings something new.
  const earliest = start + Math.max(Math.ceil(size / 2), size - END_WINDOW, overlap + 1);
  let word = 0;
  for (let end = limit; end >= earliest; end--) {
    if (!isBreak(text, end)) continue;
    if (endsSentence(text, end)) return end;
    if (word === 0) word = end;
  }
  if (word > 0) return word;
  if (!splitsPair(text, limit)) return limit;
  return limit - 1 > start + overlap ? limit - 1 : limit + 1;
}

function nextStart(text: string, start: number, end: number, overlap: number): number {
  const earliest = Math.max(start + 1, end - overlap);
  for (let next = earliest; next < Math.min(end, earliest + START_WINDOW); next++) {
    if (isSpace(text, next - 1) && !isSpace(text, next)) return next;
  }
  const exact = splitsPair(text, earliest) ? earliest + 1 : earliest;
  return Math.min(exact, end);
}

/** Between a space and what follows it, or behind a full stop of a script without spaces. */
function isBreak(text: string, at: number): boolean {
  if (isSpace(text, at - 1)) return !isSpace(text, at);
  return WIDE_STOPS.has(text[at - 1] ?? "");
}

function endsSentence(text: string, at: number): boolean {
  if (WIDE_STOPS.has(text[at - 1] ?? "")) return true;
  let last = at - 1;
  let newlines = 0;
  for (; last >= 0 && isSpace(text, last); last--) if (text[last] === "\n") newlines += 1;
  if (newlines >= 2) return true;
  while (CLOSERS.has(text[last] ?? "")) last -= 1;
  return STOPS.has(text[last] ?? "");
}

const STOPS: ReadonlySet<string> = new Set([".", "!", "?", "…"]);
const WIDE_STOPS: ReadonlySet<string> = new Set(["。", "！", "？"]);
const CLOSERS: ReadonlySet<string> = new Set(['"', "'", ")", "]", "”", "’", "»"]);

function isSpace(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  // Space, tab and line ends; no-break space; the spaces of Unicode's general punctuation; ideographic space.
  return (
    code === 0x20 ||
    (code >= 0x09 && code <= 0x0d) ||
    code === 0xa0 ||
    (code >= 0x2000 && code <= 0x200a) ||
    code === 0x2028 ||
    code === 0x2029 ||
    code === 0x3000
  );
}

function splitsPair(text: string, at: number): boolean {
  const before = text.charCodeAt(at - 1);
  const after = text.charCodeAt(at);
  return before >= 0xd800 && before <= 0xdbff && after >= 0xdc00 && after <= 0xdfff;
}

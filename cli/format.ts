/** Numbers, times and texts as people read them. */

/** 12,345 */
export const count = (value: number | bigint): string => value.toLocaleString("en-US");

/** "3 documents", "1 document" */
export function plural(value: number | bigint, noun: string): string {
  return `${count(value)} ${noun}${Number(value) === 1 ? "" : "s"}`;
}

/** "0.42 s", "12.3 s", "4 min 05 s", "2 h 10 min", "3 d 4 h" */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1_000;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const two = (n: number): string => String(Math.floor(n)).padStart(2, "0");
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${two((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

/** Of a google.protobuf.Duration. */
export function msOf({ seconds, nanos }: { readonly seconds: bigint; readonly nanos: number }): number {
  return Number(seconds) * 1_000 + nanos / 1e6;
}

/** In whole units: "5 s", "4 min", "2 h", "3 d" */
export function roughly(ms: number): string {
  const seconds = Math.max(0, ms) / 1_000;
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  if (seconds < 6_000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** "512 B", "12.3 kB", "4.5 MB" */
export function bytes(value: number | bigint): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let left = Number(value);
  let unit = 0;
  for (; left >= 999.5 && unit < units.length - 1; unit++) left /= 1_000;
  return `${unit === 0 ? left : left.toFixed(left < 99.95 ? 1 : 0)} ${units[unit]}`;
}

/** Local: "2026-01-31 09:04:50" */
export function localTime(date: Date): string {
  const two = (n: number): string => String(n).padStart(2, "0");
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":")}`;
}

/** On one line, without characters that steer a terminal. */
export function plain(text: string): string {
  return text.replace(/[\s\p{Cc}\p{Cf}\p{Surrogate}]+/gu, " ").trim();
}

/** At most `width` characters of one line. */
export function shortened(text: string, width: number): string {
  const characters = [...plain(text)];
  return characters.length <= width ? characters.join("") : `${characters.slice(0, width - 1).join("")}…`;
}

/** At most `width` characters; its spaces stay as they are. */
export function cut(line: string, width: number): string {
  const characters = [...line];
  return characters.length <= width ? line : `${characters.slice(0, Math.max(0, width - 1)).join("")}…`;
}

/** Lines of at most `width` characters, cut between words where it can be; at most `maxLines`. */
export function wrapped(text: string, width: number, maxLines: number): string[] {
  const lines: string[] = [];
  let rest = plain(text);
  while (rest !== "" && lines.length < maxLines) {
    if (lines.length === maxLines - 1 || rest.length <= width) {
      lines.push(shortened(rest, width));
      break;
    }
    const space = rest.lastIndexOf(" ", width);
    const end = space > width / 2 ? space : width;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return lines;
}

/** Columns beside each other under a heading; a column of numbers is set to the right. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [headings, ...rows];
  const widths = headings.map((_, i) => Math.max(...all.map((row) => [...(row[i] ?? "")].length)));
  const numeric = headings.map((_, i) => rows.every((row) => /^(-?[\d,.]+( %)?|-|)$/.test(row[i] ?? "")));
  return all.map((row) =>
    headings
      .map((_, i) => {
        const cell = row[i] ?? "";
        const space = " ".repeat((widths[i] ?? 0) - [...cell].length);
        return numeric[i] && rows.length > 0 ? space + cell : cell + space;
      })
      .join("  ")
      .trimEnd(),
  );
}

/** "  name    value" lines; undefined values are left out. */
export function fields(pairs: readonly (readonly [string, string | undefined])[]): string[] {
  const shown = pairs.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}

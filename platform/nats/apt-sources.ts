/**
 * Rewrites apt's source lists to another suite of the same archive: Debian's releases before 13 carry a
 * nats-server that is too old, its suite `sid` a new one that needs nothing but libc.
 */

/** Suites that name a Debian release as a whole (not its security, updates or backports). */
const RELEASES = new Set(["stable", "oldstable", "testing", "unstable", "sid"]);

const isRelease = (suite: string, codename: string | undefined): boolean =>
  RELEASES.has(suite) || (codename !== undefined && suite === codename);

/** Someone else's archive signs with a key of its own; it has no such suite. */
const isForeignKey = (signedBy: string | undefined): boolean =>
  signedBy?.startsWith("/") === true && !signedBy.includes("debian-archive");

/**
 * One-line format (`*.list`). Keeps `deb` lines of the release's own archive with component main; drops an option
 * `trusted`, which would switch the signature check off.
 * @param codename of the running release, such as "bookworm"
 */
export function rewriteList(text: string, suite: string, codename?: string): string {
  const lines = text.split("\n").flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]*)/.exec(line);
    if (!match) return [];
    const [, options = "", uri = "", from = "", components = ""] = match;
    const kept = options.split(/\s+/).filter((option) => option !== "" && !/^(trusted|allow-)/i.test(option));
    const signedBy = kept.find((option) => /^signed-by=/i.test(option))?.slice("signed-by=".length);
    if (uri.startsWith("cdrom:") || !isRelease(from, codename) || isForeignKey(signedBy)) return [];
    if (!components.split(/\s+/).includes("main")) return [];
    return [`deb ${kept.length > 0 ? `[${kept.join(" ")}] ` : ""}${uri} ${suite} main`];
  });
  return [...new Set(lines)].join("\n");
}

/** deb822 format (`*.sources`): the same for its stanzas; `Signed-By` stays, also when it is an embedded key. */
export function rewriteSources(text: string, suite: string, codename?: string): string {
  const stanzas = text.split(/\n\s*\n/).flatMap((stanza) => {
    const fields = parseStanza(stanza);
    const words = (name: string): string[] => (fields.get(name) ?? "").split(/\s+/).filter((w) => w !== "");
    if (!words("types").includes("deb") || words("uris").length === 0) return [];
    if (/^(no|false|0)$/i.test(fields.get("enabled")?.trim() ?? "")) return [];
    if (!words("suites").some((each) => isRelease(each, codename))) return [];
    if (!words("components").includes("main")) return [];
    const signedBy = fields.get("signed-by");
    if (isForeignKey(signedBy?.trim())) return [];
    const kept = ["Types: deb", `URIs: ${words("uris").join(" ")}`, `Suites: ${suite}`, "Components: main"];
    if (signedBy !== undefined) kept.push(`Signed-By:${signedBy}`);
    return [kept.join("\n")];
  });
  return [...new Set(stanzas)].join("\n\n");
}

/** Field names in lower case; values as they stand, with their continuation lines. */
function parseStanza(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let name: string | undefined;
  for (const line of stanza.split("\n")) {
    if (line.startsWith("#") || line.trim() === "") continue;
    if (/^\s/.test(line)) {
      if (name !== undefined) fields.set(name, `${fields.get(name) ?? ""}\n${line}`);
      continue;
    }
    const colon = line.indexOf(":");
    if (colon < 0) continue;
    name = line.slice(0, colon).toLowerCase();
    fields.set(name, line.slice(colon + 1));
  }
  return fields;
}

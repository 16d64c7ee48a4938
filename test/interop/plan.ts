/** What of the interop run needs which tool, and what becomes of it where one is missing. */

/** Tools that are no part of Node. */
export type Tool = "go" | "pip" | "curl";

export interface Part {
  /** Test file, without ".test.ts". */
  readonly name: string;
  readonly needs: readonly Tool[];
}

export const PARTS: readonly Part[] = [
  { name: "node", needs: [] },
  { name: "http", needs: ["curl"] },
  { name: "grpcurl", needs: ["go"] },
  { name: "ghz", needs: ["go"] },
  { name: "go", needs: ["go"] },
  { name: "python", needs: ["pip"] },
  { name: "documents", needs: ["go", "curl"] },
];

/** Why each tool is needed and where it is from. */
const HOW: Readonly<Record<Tool, string>> = {
  go: "Go 1.25 or newer (https://go.dev/dl) builds grpcurl, ghz and the example in Go",
  pip: "Python 3.9 or newer with pip (`python3 -m pip`) runs the example in Python",
  curl: "curl calls the HTTP API",
};

export interface Plan {
  /** Names of the parts to run; empty when the run fails. */
  readonly parts: readonly string[];
  /** Lines for stdout, such as `skipped: go`. */
  readonly notes: readonly string[];
  /** Why the run fails, naming every tool that is missing. */
  readonly failure: string | undefined;
}

/** `optional`: what is missing is left out and said, instead of failing the run. */
export function planRun(missing: ReadonlySet<Tool>, optional: boolean): Plan {
  const names = [...missing].sort();
  if (names.length > 0 && !optional) {
    const reasons = names.map((name) => `${name} is missing: ${HOW[name]}`);
    const hint = "ARRW_INTEROP_OPTIONAL=1 leaves out what needs it";
    return { parts: [], notes: [], failure: `interop: ${reasons.join("; ")}. ${hint}` };
  }
  const parts = PARTS.filter(({ needs }) => !needs.some((tool) => missing.has(tool)));
  return {
    parts: parts.map(({ name }) => name),
    notes: names.map((name) => `skipped: ${name}`),
    failure: undefined,
  };
}

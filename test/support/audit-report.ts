/** What `npm audit --json` says. */
export type AuditVerdict =
  | { readonly kind: "clean"; readonly minor: number }
  | { readonly kind: "vulnerable"; readonly packages: readonly string[] }
  /** The registry doesn't answer audits, or can't be reached: nothing is known. */
  | { readonly kind: "unavailable"; readonly why: string };

interface Report {
  readonly vulnerabilities?: Readonly<
    Record<string, { readonly severity?: string; readonly range?: string }>
  >;
  readonly metadata?: { readonly vulnerabilities?: Readonly<Record<string, number>> };
  readonly message?: string;
  readonly error?: { readonly code?: string; readonly summary?: string };
}

const SEVERE: ReadonlySet<string | undefined> = new Set(["high", "critical"]);

export function verdictOf(output: string): AuditVerdict {
  const report = parsed(output);
  if (!report) return { kind: "unavailable", why: "the answer is no JSON" };
  // Only an audit that took place has counted.
  const counts = report.metadata?.vulnerabilities;
  if (!report.vulnerabilities || !counts) {
    const why = report.message || report.error?.summary || report.error?.code || "the answer is no audit";
    return { kind: "unavailable", why };
  }
  const packages = Object.entries(report.vulnerabilities)
    .filter(([, { severity }]) => SEVERE.has(severity))
    .map(([name, { severity, range }]) => `${name} ${range ?? ""} (${severity})`);
  // Counts and list come from the same answer; whichever says more is believed.
  const counted = (counts.high ?? 0) + (counts.critical ?? 0);
  if (packages.length === 0 && counted === 0) return { kind: "clean", minor: counts.total ?? 0 };
  return { kind: "vulnerable", packages: packages.length > 0 ? packages : [`${counted} packages`] };
}

function parsed(output: string): Report | undefined {
  try {
    const value: unknown = JSON.parse(output);
    return typeof value === "object" && value !== null ? (value as Report) : undefined;
  } catch {
    return undefined;
  }
}

import { closest, distance } from "fastest-levenshtein";

/** The name that a typing error could have turned into this one. */
export function nearestName(wanted: string, names: readonly string[]): string | undefined {
  if (names.length === 0) return undefined;
  const lower = wanted.toLowerCase();
  const nearest = closest(
    lower,
    names.map((name) => name.toLowerCase()),
  );
  const name = names.find((each) => each.toLowerCase() === nearest);
  return distance(lower, nearest) <= Math.max(2, Math.floor(wanted.length / 3)) ? name : undefined;
}

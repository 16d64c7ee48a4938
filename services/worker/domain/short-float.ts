/** Numbers as float32 has them, with no more digits than it takes. */

const POWERS = Array.from({ length: 23 }, (_, exponent) => 10 ** exponent);
/** A float32 needs 6 to 9 digits; what 7 of them say shortest, fewer do too. */
const LEAST_DIGITS = 7;
const MOST_DIGITS = 9;

/**
 * The double that has the shortest decimal of all that round to the given float32: 0.1 for 0.10000000149011612. Printed,
 * read and rounded to float32 it is the given one again.
 */
export function shortFloat(value: number): number {
  const size = Math.abs(value);
  if (!(size >= 1e-6 && size < 1e6)) return rareFloat(value);
  const exponent = Math.floor(Math.log10(size));
  for (let digits = LEAST_DIGITS; digits < MOST_DIGITS; digits++) {
    // At most 10^13: the power, and with it the quotient, is exact.
    const power = POWERS[digits - 1 - exponent] ?? 1;
    const short = Math.round(value * power) / power;
    if (Math.fround(short) === value) return short;
  }
  const power = POWERS[MOST_DIGITS - 1 - exponent] ?? 1;
  const short = Math.round(value * power) / power;
  return Math.fround(short) === value ? short : rareFloat(value);
}

function rareFloat(value: number): number {
  if (value === 0 || !Number.isFinite(value)) return value;
  for (let digits = 1; digits <= MOST_DIGITS; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

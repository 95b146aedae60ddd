/**
 * Conversions between numbers and the 16-bit formats f16 (IEEE 754 binary16) and bf16, in float64 arithmetic and without looking at the
 * bits of an f32. NaN is not covered, because arithmetic does not define its payload.
 */

/** A 16-bit binary floating-point format: one sign bit, then the exponent, then the fraction. */
export interface Format {
  readonly exponentBits: number;
  readonly fractionBits: number;
}

export const F16: Format = { exponentBits: 5, fractionBits: 10 };
export const BF16: Format = { exponentBits: 8, fractionBits: 7 };

/** Returns the value of a 16-bit pattern. */
export function valueOf(bits: number, { exponentBits, fractionBits }: Format): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits >= 2 ** 15 ? -1 : 1;
  const field = Math.floor(bits / 2 ** fractionBits) % 2 ** exponentBits;
  const fraction = (bits % 2 ** fractionBits) / 2 ** fractionBits;
  if (field === 2 ** exponentBits - 1) return fraction === 0 ? sign * Infinity : NaN;
  return field === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (field - bias);
}

/**
 * Returns the pattern nearest to `value`. A tie goes to the even pattern, and a value that rounds past the largest finite one becomes
 * infinity. `value` must not be NaN.
 */
export function nearest(value: number, { exponentBits, fractionBits }: Format): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = value < 0 || Object.is(value, -0) ? 2 ** 15 : 0;
  const infinity = (2 ** exponentBits - 1) * 2 ** fractionBits;
  const magnitude = Math.abs(value);
  if (magnitude === Infinity) return sign + infinity;
  let exponent = 1 - bias; // the binade of the value; subnormal values share the lowest one
  while (magnitude >= 2 ** (exponent + 1)) exponent++;
  const units = roundHalfEven(magnitude / 2 ** (exponent - fractionBits));
  // Patterns of one sign are consecutive, so rounding up into the next binade gives the next pattern.
  return sign + Math.min(infinity, (exponent - 1 + bias) * 2 ** fractionBits + units);
}

function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/**
 * Conversion of single values to and from f16 (IEEE 754-2008 binary16) and bf16 (the upper half of binary32),
 * from the definition of the formats. The code computes in float64 arithmetic and never looks at the bits of
 * an f32. NaN is not converted, because its payload cannot be computed by arithmetic.
 */

/** A binary floating-point format of 16 bits: one sign bit, then the exponent, then the fraction. */
export interface Format {
  readonly exponentBits: number;
  readonly fractionBits: number;
}

export const F16: Format = { exponentBits: 5, fractionBits: 10 };
export const BF16: Format = { exponentBits: 8, fractionBits: 7 };

/** The value of a 16-bit pattern. Every NaN pattern gives NaN. */
export function decodeFloat16(bits: number, { exponentBits, fractionBits }: Format): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits >= 2 ** 15 ? -1 : 1;
  const field = Math.floor(bits / 2 ** fractionBits) % 2 ** exponentBits;
  const fraction = (bits % 2 ** fractionBits) / 2 ** fractionBits;
  if (field === 2 ** exponentBits - 1) return fraction === 0 ? sign * Infinity : NaN;
  return field === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (field - bias);
}

/**
 * The bit pattern of the representable value that is nearest to `value`. Ties go to the even pattern. A value
 * that rounds past the largest finite number gives infinity. `value` must not be NaN.
 */
export function encodeFloat16(value: number, { exponentBits, fractionBits }: Format): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = value < 0 || Object.is(value, -0) ? 2 ** 15 : 0;
  const infinity = (2 ** exponentBits - 1) * 2 ** fractionBits;
  const magnitude = Math.abs(value);
  if (magnitude === Infinity) return sign + infinity;
  let exponent = 1 - bias; // the exponent of the value; all subnormal numbers have the smallest exponent
  while (magnitude >= 2 ** (exponent + 1)) exponent++;
  const units = roundHalfEven(magnitude / 2 ** (exponent - fractionBits));
  // The patterns of positive values are in order, so rounding up past the largest fraction gives the correct pattern.
  return sign + Math.min(infinity, (exponent - 1 + bias) * 2 ** fractionBits + units);
}

function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

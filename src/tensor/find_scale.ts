/** Finds the scale of weights that were rounded to a symmetric grid and stored without their codes. */

/**
 * Finds a scale in F16 such that every weight is exactly an integer times the scale, and writes these integers to
 * `integers`. It tries the scale that follows from each integer that the largest weight may have.
 * @param bits the integers are from −2^(bits − 1) to 2^(bits − 1) − 1
 * @returns the scale, 0 if all weights are 0, or undefined if there is none
 */
export function findScale(weights: Float32Array, integers: Int8Array, bits: number): number | undefined {
  const extreme = largest(weights), limit = 2 ** (bits - 1);
  if (extreme === 0) {
    integers.fill(0);
    return weights.includes(NaN) ? undefined : 0;
  }
  for (let multiple = 1; multiple <= limit; multiple++) {
    for (const scale of [extreme / -multiple, extreme / multiple]) {
      if (isFloat16(scale) && divide(weights, scale, integers, limit)) return scale;
    }
  }
}

/** Returns the first weight with the largest magnitude. */
export function largest(weights: Float32Array): number {
  let found = 0;
  for (let i = 0; i < weights.length; i++) if (Math.abs(weights[i]) > Math.abs(found)) found = weights[i];
  return found;
}

/** Whether a number is finite and exact in F16. */
export function isFloat16(value: number): boolean {
  return Math.f16round(value) === value && Number.isFinite(value);
}

/** Writes weight/scale for each weight. Returns whether all quotients are integers of the grid. */
function divide(weights: Float32Array, scale: number, integers: Int8Array, limit: number): boolean {
  for (let i = 0; i < weights.length; i++) {
    const integer = Math.round(weights[i] / scale);
    if (integer * scale !== weights[i] || integer < -limit || integer >= limit) return false;
    integers[i] = integer;
  }
  return true;
}

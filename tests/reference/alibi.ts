/** The ALiBi slope of each head, as the function `build_alibi_tensor` of `modeling_bloom.py` computes it. */
export function alibi(heads: number): number[] {
  const closest = 2 ** Math.floor(Math.log2(heads));
  const base = 2 ** -(2 ** -(Math.log2(closest) - 3));
  const slopes = Array.from({ length: closest }, (_, i) => base ** (i + 1));
  if (closest !== heads) {
    const extraBase = 2 ** -(2 ** -(Math.log2(2 * closest) - 3));
    const remaining = Math.min(closest, heads - closest);
    for (let power = 1; power < 1 + 2 * remaining; power += 2) slopes.push(extraBase ** power);
  }
  return slopes;
}

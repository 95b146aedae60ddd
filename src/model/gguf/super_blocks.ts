/**
 * Finds the super-blocks of the K types of tensors, which are defined by `ggml-common.h` in
 * github.com/ggml-org/llama.cpp. The 256 weights of a super-block share a factor d in F16. Each of its groups has an
 * integer n, and an integer m in the types with minimums. A weight with the code q is n·(q − middle)·d, or
 * n·q·d − m·dmin with minimums. Pare writes dmin = middle·d, where the middle is 2^(bits − 1), so every weight is an
 * integer times d. Runs with `scale_bits` round to such grids (`tensor/quantization.ts`).
 */

import { isFloat16 } from "../../tensor/find_scale.ts";
import { scaleLimit, SUPER_BLOCK_COLUMNS } from "../../tensor/quantization.ts";
import type { Block } from "./block_layout.ts";

/** The grids of a K type. */
export interface SuperBlockGrid {
  readonly bits: number;
  readonly groupSize: number;
  /** Whether the groups have no minimums. The integers n are then signed. */
  readonly symmetric: boolean;
  readonly scaleBits: number;
}

/**
 * Finds the super-block whose weights are exactly the given ones. All weights are multiples of d, so d divides their
 * greatest common divisor.
 * @param weights 256 numbers
 * @returns undefined if there is none
 */
export function findSuperBlock(grid: SuperBlockGrid, weights: Float32Array): Block | undefined {
  const middle = 2 ** (grid.bits - 1),
    largestUnit = scaleLimit(grid) * (grid.symmetric ? middle : 2 * middle - 1);
  const extreme = weights.reduce((largest, weight) => Math.max(largest, Math.abs(weight)), 0);
  // Exact weights have a divisor of at least extreme/largestUnit, so the computation can stop at a smaller one.
  const divisor = commonDivisor(weights, extreme / largestUnit);
  if (extreme === 0) return superBlockOf(grid, weights, 1);
  if (!Number.isFinite(extreme)) return undefined;
  for (let parts = 1; extreme * parts <= largestUnit * divisor; parts++) {
    const factor = divisor / parts;
    // Both d and, in a type with minimums, dmin are in F16.
    if (![factor, grid.symmetric ? factor : middle * factor].every(isFloat16)) continue;
    const found = superBlockOf(grid, weights, factor);
    if (found) return found;
  }
}

/** Returns the greatest common divisor, or any number below `least` if it is below. `%` of two floats is exact. */
function commonDivisor(values: Float32Array, least: number): number {
  let divisor = 0;
  for (const value of values) {
    let rest = Math.abs(value);
    while (rest > 0) {
      const remainder = divisor % rest;
      divisor = rest;
      rest = remainder;
    }
    if (divisor > 0 && divisor < least) break;
  }
  return divisor;
}

function superBlockOf(grid: SuperBlockGrid, weights: Float32Array, factor: number): Block | undefined {
  const { groupSize } = grid, groups = SUPER_BLOCK_COLUMNS / groupSize;
  const codes = new Uint8Array(SUPER_BLOCK_COLUMNS);
  const scales = new Int8Array(groups), minimums = new Uint8Array(groups), middle = 2 ** (grid.bits - 1);
  for (let group = 0; group < groups; group++) {
    const begin = group * groupSize;
    const units = weights.subarray(begin, begin + groupSize).map((weight) => weight / factor);
    const found = groupOf(grid, units);
    if (!found) return undefined;
    const { scale, minimum } = found, lowest = grid.symmetric ? -middle * scale : -middle * minimum;
    scales[group] = scale;
    minimums[group] = minimum;
    units.forEach((unit, i) => codes[begin + i] = scale === 0 ? middle : (unit - lowest) / scale);
  }
  return { factor, codes, scales, minimums };
}

/**
 * Finds the integer n (`scale`) of a group, and in a type with minimums the integer m (`minimum`), with which the
 * integers `units` are n·(code − middle), or n·code − m·middle with minimums. n must divide all units, or with minimums
 * their distances.
 */
function groupOf(
  grid: SuperBlockGrid,
  units: Float32Array,
): { scale: number; minimum: number } | undefined {
  const { bits, symmetric } = grid, limit = scaleLimit(grid), middle = 2 ** (bits - 1);
  const low = Math.min(...units), high = Math.max(...units);
  if (low === 0 && high === 0) return { scale: 0, minimum: 0 };
  const divisor = commonDivisor(symmetric ? units : units.map((unit) => unit - low), 0);
  for (let size = limit; size >= 1; size--) {
    if (divisor % size !== 0) continue;
    for (const scale of symmetric ? [size, -size] : [size]) {
      for (let minimum = 0; minimum <= (symmetric ? 0 : limit); minimum++) {
        const lowest = -middle * (symmetric ? scale : minimum);
        const codes = [low, high].map((unit) => (unit - lowest) / scale);
        if (codes.every((code) => Number.isInteger(code) && code >= 0 && code < 2 * middle)) {
          return { scale, minimum };
        }
      }
    }
  }
}

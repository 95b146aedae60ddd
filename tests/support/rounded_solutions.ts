/** Compares solutions with rounded weights with the published algorithm GPTQ in float64. */

import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { relativeError, type Solution } from "../../src/layer/solvers/solver.ts";
import type { GptqOptions, GptqSolution } from "../reference/gptq.ts";
import { assertClose } from "./assert_close.ts";
import { assertSame } from "./assert_same.ts";
import { downloadF32 } from "./device.ts";
import { readSolution } from "./layers.ts";

/** A rounded solution in host memory. */
export interface RoundedSolution {
  /** The pruned and rounded weights: (rows, cols). */
  readonly q: Float32Array;
  /** 0 where the entry is pruned, 1 elsewhere: (rows, cols). */
  readonly mask: Uint8Array;
  /** The integers that the weights are rounded to, with weight = (code − zero)·scale: (rows, cols). */
  readonly codes: Uint8Array;
  /** The scale of each row and group of columns: (rows, groups). */
  readonly scales: Float32Array;
  /** The code of the value 0 for each row and group of columns: (rows, groups). */
  readonly zeros: Float32Array;
}

/**
 * Reads a solution, and asserts that every weight is exactly a value of its grid, that pruned weights are exactly 0,
 * and that the number of zeros and the padding of the mask are right.
 *
 * @throws {AssertionError}
 */
export async function readRounded(
  backend: Backend,
  solution: Solution,
  { bits }: Pick<GptqOptions, "bits">,
): Promise<RoundedSolution> {
  const { q, mask, paddingBits } = await readSolution(backend, solution);
  const { groups, groupSize, ...buffers } = solution.quantized!, { rows, cols } = solution.q;
  const scales = await downloadF32(backend, buffers.scales),
    zeros = await downloadF32(backend, buffers.zeros);
  assert.deepEqual([scales.length, zeros.length], [rows * groups, rows * groups]);
  assert.equal(groups, groupSize ? Math.ceil(cols / groupSize) : 1);
  assert.equal(paddingBits, 0, "padding bits of the mask");
  assert.equal(solution.zeros, mask.reduce((sum, kept) => sum + 1 - kept, 0), "zeros reported");
  const codes = Uint8Array.from(q, (value, i) => {
    const at = Math.floor(i / cols) * groups + (groupSize ? Math.floor((i % cols) / groupSize) : 0);
    const code = Math.round(value / scales[at] + zeros[at]), error = (code - zeros[at]) * scales[at] - value;
    assert.ok(code >= 0 && code < 2 ** bits, `entry ${i} has the code ${code}`);
    // The zero of a grid without 0 is rounded to f32, so that its product is not exactly the value.
    assert.ok(
      Number.isInteger(zeros[at])
        ? Object.is(Math.fround((code - zeros[at]) * scales[at]) + 0, value)
        : Math.abs(error) <= 1e-6 * 2 ** bits * scales[at],
      `entry ${i} is ${value}, which is not a value of its grid`,
    );
    if (!mask[i]) assert.ok(Object.is(value, 0), `pruned entry ${i} is ${value}`);
    return code;
  });
  return { q, mask, codes, scales, zeros };
}

/**
 * Asserts that a solution agrees with the reference algorithm. Where a number is so close to a tie that rounding errors of
 * f32 decide, the reference takes the code or the zero of the solution (`tests/reference/quantization.ts`). The reference
 * is computed twice. If it chooses the mask itself, at least 99.8 % of the mask must be equal, because scores can be nearly
 * equal as well. If it is given the solution's mask, all codes must be equal.
 *
 * @param reference computes the reference with the given options
 * @throws {AssertionError}
 */
export function assertRounded(
  solution: Solution,
  rounded: RoundedSolution,
  reference: (options: Pick<GptqOptions, "fixedMask" | "follow">) => GptqSolution,
): void {
  const chosen = reference({ follow: rounded });
  const count = (mask: Uint8Array) => mask.reduce((sum, kept) => sum + kept, 0);
  assert.equal(count(rounded.mask), count(chosen.mask), "kept entries");
  const equal = rounded.mask.filter((kept, i) => kept === chosen.mask[i]).length;
  assert.ok(
    equal >= 0.998 * rounded.mask.length,
    `${equal} of ${rounded.mask.length} mask entries are equal`,
  );
  assertClose([solution.loss!], [chosen.loss], 1e-3, { label: "loss" });

  const followed = reference({ fixedMask: rounded.mask, follow: rounded });
  assertSame(rounded.codes, followed.codes);
  assertClose(rounded.scales, followed.scales, 1e-4, { label: "scales" });
  assertSame([...rounded.zeros], [...followed.zeros]);
  assertClose([solution.loss!], [followed.loss], 1e-4, { label: "loss on the same mask" });
  if (relativeError(solution) !== null) {
    assertClose([relativeError(solution)!], [followed.relativeError], 1e-4, { label: "relative error" });
  }
}

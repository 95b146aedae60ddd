/** Kernels that convert the elements of a safetensors file to f32 and back. */

import { defineKernel, linearGrid, u32 } from "../kernel.ts";
import { filled, signed, words } from "../kernel_case.ts";
import type { FloatDtype } from "../../../tensor/dtype.ts";
import shared from "../../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../../shaders/convert.wgsl" with { type: "text" };

/** The values of the `dtype` parameters. */
export const DTYPE_CODE: Readonly<Record<FloatDtype, number>> = { F32: 0, F16: 1, BF16: 2 };

/**
 * For i < count: target[target_offset + i] ← element source_offset + i of `source`, exactly. `source` has packed
 * little-endian elements of `dtype`.
 */
export const toFloat32 = defineKernel({
  name: "to_float32",
  bindings: { source: "read", target: "read_write" },
  params: u32("count", "dtype", "source_offset", "target_offset"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.count, 256) },
  cases: () => [
    ...(["F32", "F16", "BF16"] as const).map((dtype) => ({
      feature: dtype,
      params: { count: 601, dtype: DTYPE_CODE[dtype], source_offset: 7, target_offset: 5 },
      buffers: () => ({ source: finiteHalves(dtype === "F32" ? 700 : 400, 5), target: filled(5 + 601 + 3) }),
    })),
    ...HALVES.map((dtype) => ({
      feature: `NaN and infinity in ${dtype}`,
      params: { count: 101, dtype: DTYPE_CODE[dtype], source_offset: 3, target_offset: 5 },
      buffers: () => ({
        source: words(64, 21).map((word) => word | NON_FINITE[dtype]),
        target: words(110, 22),
      }),
    })),
  ],
});

/**
 * For i < count: element i of `target` ← source[source_offset + i]. `target` receives packed little-endian elements of
 * `dtype`. f16 and bf16 are rounded to nearest even. Overflow gives infinity, NaN stays NaN, and subnormals are not
 * flushed to zero. If `count` is odd and the elements have 2 bytes, the unused half of the last word becomes 0.
 */
export const fromFloat32 = defineKernel({
  name: "from_float32",
  bindings: { source: "read", target: "read_write" },
  params: u32("count", "dtype", "source_offset"),
  shader: { code: shared + code, grid: (p) => linearGrid(p.count, 256) },
  cases: () => [
    ...HALVES.map((dtype) => ({
      feature: `NaN to ${dtype}`,
      params: { count: 101, dtype: DTYPE_CODE[dtype], source_offset: 3 },
      buffers: () => ({ source: words(110, 23).map((word) => word | 0x7f800000), target: words(60, 24) }),
    })),
    ...(["F32", "F16", "BF16"] as const).map((dtype) => ({
      feature: dtype,
      params: { count: 601, dtype: DTYPE_CODE[dtype], source_offset: 7 },
      buffers: () => ({ source: wideFloats(608, 6), target: words(605, 7) }),
    })),
  ],
});

const HALVES = ["F16", "BF16"] as const;

/** The exponent bits of two 16-bit floats in a word. */
const NON_FINITE = { F16: 0x7c007c00, BF16: 0x7f807f80 };

/** Returns random words in which no 16-bit float is an infinity or NaN, because the bits of NaN are not specified. */
function finiteHalves(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const exponents = [0x7c00, 0x7f80];
  const finite = (half: number) => exponents.some((bits) => (half & bits) === bits) ? half & ~0x0480 : half;
  return words(count, seed).map((word) => finite(word & 0xffff) | finite(word >>> 16) << 16);
}

/** Returns floats from the subnormal f16 numbers to beyond the largest f16 number in magnitude, and some ties. */
function wideFloats(count: number, seed: number): Float32Array<ArrayBuffer> {
  const factors = signed(count, seed);
  return factors.map((factor, i) =>
    (i % 5 === 0 ? Math.round(factor * 2 ** 12) / 2 ** 12 : factor) * 2 ** (i % 47 - 28)
  );
}

/** Kernels that convert the elements of a safetensors file to f32 and back. */

import { defineKernel, linearGrid } from "../kernel.ts";
import type { FloatDtype } from "../../tensor/dtype.ts";
import shared from "../../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../../shaders/convert.wgsl" with { type: "text" };

/** The values of the `dtype` parameters. */
export const DTYPE_CODE: Readonly<Record<FloatDtype, number>> = { F32: 0, F16: 1, BF16: 2 };

/**
 * For i < count: target[target_offset + i] ← element source_offset + i of `source`, exactly. `source` has packed little-endian elements of
 * `dtype`.
 */
export const toFloat32 = defineKernel({
  name: "to_float32",
  bindings: { source: "read", target: "read_write" },
  params: { count: "u32", dtype: "u32", source_offset: "u32", target_offset: "u32" },
  shader: { code: shared + code, entryPoint: "to_float32", grid: (p) => linearGrid(p.count, 256) },
});

/**
 * For i < count: element i of `target` ← source[source_offset + i]. `target` receives packed little-endian
 * elements of `dtype`. f16 and bf16 are rounded to the nearest element, ties to even. Overflow gives
 * infinity, NaN stays NaN, and subnormals are not flushed to zero. If `count` is odd and the elements have 2
 * bytes, the unused half of the last word becomes 0.
 */
export const fromFloat32 = defineKernel({
  name: "from_float32",
  bindings: { source: "read", target: "read_write" },
  params: { count: "u32", dtype: "u32", source_offset: "u32" },
  shader: { code: shared + code, entryPoint: "from_float32", grid: (p) => linearGrid(p.count, 256) },
});

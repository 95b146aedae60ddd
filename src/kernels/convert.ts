/** Conversion between raw safetensors elements and f32 on the device, exact and round-to-nearest-even. */

import { defineKernel, linearGrid } from "./kernel.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import shared from "../../shaders/shared/linear.wgsl" with { type: "text" };
import code from "../../shaders/convert.wgsl" with { type: "text" };

/** The value of the `dtype` parameter. */
export const DTYPE_CODE: Readonly<Record<FloatDtype, number>> = { F32: 0, F16: 1, BF16: 2 };

/** target[target_offset + i] ← source element source_offset + i, for i < count. `source` holds packed little-endian elements. */
export const toFloat32 = defineKernel({
  name: "to_float32",
  bindings: { source: "read", target: "read_write" },
  params: { count: "u32", dtype: "u32", source_offset: "u32", target_offset: "u32" },
  shader: { code: shared + code, entryPoint: "to_float32", grid: (p) => linearGrid(p.count, 256) },
});

/**
 * Packed element i of `target` ← source[source_offset + i], for i < count, starting at element 0. With a 2-byte dtype and an odd count
 * the last half word is 0. f16 and bf16 round to nearest even; overflow gives infinity; NaN stays NaN; subnormals are kept.
 */
export const fromFloat32 = defineKernel({
  name: "from_float32",
  bindings: { source: "read", target: "read_write" },
  params: { count: "u32", dtype: "u32", source_offset: "u32" },
  shader: { code: shared + code, entryPoint: "from_float32", grid: (p) => linearGrid(p.count, 256) },
});

/** Kernels that normalise the rows of a matrix of activations. */

import { defineKernel, type Grid, MAX_GRID_EXTENT } from "../kernel.ts";
import { loop, sequence } from "../loop_count.ts";
import code from "../../../shaders/normalize.wgsl" with { type: "text" };

/** Invocations per workgroup. It must equal the constant of the same name in shaders/normalize.wgsl. */
const SIZE = 256;

/**
 * For each contiguous row r of `cols` elements: y[r] ← (x[r] − mean)/√(variance + eps)·weight + bias, with the biased variance, as in
 * torch.nn.LayerNorm.
 */
export const layerNorm = defineKernel({
  name: "layer_norm",
  bindings: { x: "read", weight: "read", bias: "read", y: "read_write" },
  params: { rows: "u32", cols: "u32", eps: "f32" },
  shader: {
    code,
    entryPoint: "layer_norm",
    grid: rowGrid,
    loops: ({ cols }) => {
      const columns = loop(Math.ceil(cols / SIZE)), tree = loop(Math.log2(SIZE));
      return sequence(columns, tree, columns, tree, columns);
    },
  },
});

/**
 * For each contiguous row r of `cols` elements: y[r] ← x[r]/√(mean of squares + eps)·weight (Zhang and Sennrich, arXiv 1910.07467).
 */
export const rmsNorm = defineKernel({
  name: "rms_norm",
  bindings: { x: "read", weight: "read", y: "read_write" },
  params: { rows: "u32", cols: "u32", eps: "f32" },
  shader: {
    code,
    entryPoint: "rms_norm",
    grid: rowGrid,
    loops: ({ cols }) => {
      const columns = loop(Math.ceil(cols / SIZE)), tree = loop(Math.log2(SIZE));
      return sequence(columns, tree, columns);
    },
  },
});

/** Returns a grid with one workgroup per row. */
function rowGrid({ rows }: Readonly<Record<"rows" | "cols" | "eps", number>>): Grid {
  return [Math.min(rows, MAX_GRID_EXTENT), Math.ceil(rows / MAX_GRID_EXTENT), 1];
}

import type { Contents, Params, Reference } from "../kernel_reference.ts";
import { blockBits, blockOf, referenceRoundingLoop, storeBlock } from "../column_loop.ts";
import type { Followed } from "../quantization.ts";

export const quantize_block: Reference = (buffers, p) => {
  roundBlock(buffers, p, { codes: [], zeros: [] });
};

/**
 * Computes a dispatch, and returns the codes of its weights, (rows, size).
 * @param follow the decisions of the code under test, which are followed where f32 decides
 */
export function roundBlock(buffers: Contents, p: Params, follow: Followed): Float64Array {
  const { scales, zeros, mask } = buffers, bits = Math.log2(p.max_code + 1);
  const row = (r: number) => ({ scale: scales[p.row0 + r], zero: zeros[p.row0 + r] });
  const result = referenceRoundingLoop(blockOf(buffers, p), {
    bits,
    symmetric: p.symmetric === 1,
    searched: p.searched === 1,
    scaleDtype: p.scale_dtype,
    scaleLimit: p.scale_limit,
    gridSize: p.grid_size,
    rowGrids: p.grid_size ? undefined : Array.from({ length: p.rows }, (_, r) => row(r)),
    allowed: blockBits(mask, p),
    groups: p.group ? { keep: p.keep, group: p.group } : undefined,
    follow,
  });
  storeBlock(buffers, p, result);
  if (p.grid_size) {
    result.grids.forEach(({ scale, zero }, i) => {
      const at = gridIndex(p, i);
      scales[at] = scale;
      zeros[at] = zero;
    });
  }
  return result.codes;
}

/** Returns the index in `scales` and `zeros` of grid i of the block, counted row by row. */
export function gridIndex({ size, grid_size, row0, grids, first }: Params, i: number): number {
  if (grid_size === 0) return row0 + i;
  const own = Math.ceil(size / grid_size);
  return (row0 + Math.floor(i / own)) * grids + first / grid_size + i % own;
}

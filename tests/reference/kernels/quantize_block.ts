import type { Reference } from "../kernel_reference.ts";
import { blockBits, blockOf, referenceRoundingLoop, storeBlock } from "../column_loop.ts";

export const quantize_block: Reference = (buffers, p) => {
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
    follow: { codes: [], zeros: [] },
  });
  storeBlock(buffers, p, result);
  if (!p.grid_size) return;
  const own = Math.ceil(p.size / p.grid_size);
  result.grids.forEach(({ scale, zero }, i) => {
    const at = (p.row0 + Math.floor(i / own)) * p.grids + p.first / p.grid_size + i % own;
    scales[at] = scale;
    zeros[at] = zero;
  });
};

/**
 * The column loop of the solve (DESIGN §3.4): prunes one block of columns for some rows, spreading each
 * column's error over the columns after it. Rows are independent: a workgroup owns some. Two kernels, by how the mask
 * is chosen. With U = I it spreads nothing, and is magnitude pruning.
 *
 * For column j of the block, in order, with w the updated weights:
 *   q = 0 where pruned, else w;  err = (w_j − q)/U[j,j];  w[c] −= err·U[j,c] for c > j.
 *
 * Buffers:
 * - `work`: updated weights W_k, (all rows, `size`) f32, leading dimension `ldwork`; row r of the dispatch is row0 + r. Only read.
 * - `u`: U_kk at `u_offset`, leading dimension `ldu`, upper triangular.
 * - `w` (tile): W_k as it came at [r·ldw + w_offset + j]; becomes Δ = (W as it came) − Q.
 * - `q` (tile): receives Q at [r·ldw + w_offset + j].
 * - `mask`: u32 bits of the whole matrix, `words` a row: bit c%32 of word (row0 + r)·words + c/32, c = first + j, is set to 1
 *   where kept and to 0 where pruned; other bits stay (a word may be shared with the neighbour blocks of the same row).
 * - `sums`: f32 pairs a matrix row: [2·(row0 + r)] += Σ err², [2·(row0 + r) + 1] += Σ Δ².
 */

import { type Access, defineKernel, type Scalar, type ShaderVariant } from "./kernel.ts";
import columnLoop from "../../shaders/shared/column_loop.wgsl" with { type: "text" };
import code from "../../shaders/prune_block.wgsl" with { type: "text" };

/** Rows a workgroup owns: ROWS of shaders/shared/column_loop.wgsl. */
const ROWS = 8;
/** The most columns a block may have: what the workgroup memory of the shader and the scratch of the twin hold. */
export const MAX_BLOCK_SIZE = 256;

/** Bound alike by both kernels, so that their shaders share the column loop. */
const bindings = {
  work: "read",
  u: "read",
  w: "read_write",
  q: "read_write",
  mask: "read_write",
  sums: "read_write",
} as const satisfies Record<string, Access>;

const params = {
  rows: "u32",
  size: "u32",
  row0: "u32",
  ldwork: "u32",
  u_offset: "u32",
  ldu: "u32",
  w_offset: "u32",
  ldw: "u32",
  first: "u32",
  words: "u32",
} as const satisfies Record<string, Scalar>;

/** On a software adapter invocations that share work only repeat it, and a weight stored costs more than its updates. */
const SOFTWARE = { LANES: 1, UNIT: 16 };

function shader<P extends string>(
  entryPoint: string,
  constants?: ShaderVariant["constants"],
): ShaderVariant<P | "rows"> {
  return { code: columnLoop + code, entryPoint, constants, grid: (p) => [Math.ceil(p.rows / ROWS), 1, 1] };
}

/**
 * Unstructured: an entry is pruned when its key (`keys`, laid out (all rows, `size`) with leading dimension `size`) is below
 * selection[0], or equal to it while selection[2 + row0 + r], decremented in place, is not used up.
 */
export const pruneBlock = defineKernel({
  name: "prune_block",
  bindings: { ...bindings, keys: "read", selection: "read_write" },
  params,
  shader: shader("prune_block"),
  softwareShader: shader("prune_block", SOFTWARE),
});

/**
 * n:m: at the first column of each group of `group` consecutive columns, chooses the entries to prune from the weights as
 * updated so far: all but `keep` of the group, smallest |w_j/U[j,j]| first, ties by lower index first; forced entries come before all
 * others and are always pruned. A last group of size g < group keeps ceil(keep·g/group). `forced` as in `scoreKeys`.
 */
export const pruneBlockNM = defineKernel({
  name: "prune_block_n_m",
  bindings: { ...bindings, forced: "read" },
  params: { ...params, keep: "u32", group: "u32", has_forced: "u32" },
  shader: shader("prune_block_n_m"),
  softwareShader: shader("prune_block_n_m", SOFTWARE),
});

/**
 * Prunes one block of columns of a weight matrix. This is the inner loop of SparseGPT (arXiv 2301.00774, algorithm 1).
 * The loop goes through the columns of the block in order. In each column, it sets the chosen entries to zero, and
 * updates the later columns of the block so that they compensate for the error. Rows do not depend on each other.
 * `pruneBlock` prunes entries that other kernels have chosen, and `pruneBlockNM` chooses the entries itself. With U = I
 * no error is compensated, so the result is magnitude pruning.
 *
 * In column j of a row, where w are the weights of the row with the updates so far, the loop computes:
 *   q = 0 if the entry is pruned, else w[j];  err = (w[j] − q)/U[j,j];  w[c] −= err·U[j,c] for c > j.
 *
 * A dispatch handles `rows` rows of the matrix from row `row0` on, and `size` columns from column `first` on. Below, r
 * counts the rows of the dispatch, and j the columns of the block. All rows of the matrix share the buffers `work`,
 * `mask`, `sums`, `keys`, `selection` and `forced`. The buffers `w` and `q` have only the rows of the dispatch.
 *
 * - `work`, f32: the weights of the block with the updates from earlier blocks. Rows are `ldwork` elements apart. The
 *   kernel does not change them.
 * - `u`, f32: the matrix U of the block, (size, size) upper triangular. It is a diagonal block of the Cholesky factor U
 *   of the inverse Hessian, H⁻¹ = UᵀU. It starts at `u_offset`, and rows are `ldu` elements apart.
 * - `w`, f32: the original weights W of the block, at [r·ldw + w_offset + j]. The kernel replaces them by Δ = W − Q.
 * - `q`, f32: receives the pruned and updated weights Q at [r·ldw + w_offset + j].
 * - `mask`, u32 with `words` words per row of the matrix. With c = first + j, bit c%32 of word (row0 + r)·words + c/32
 *   becomes 1 if the entry is kept, and 0 if it is pruned. The bits of neighbouring blocks do not change.
 * - `sums`, f32 with two elements per row: the kernel adds Σ err² to sums[2·(row0 + r)], and Σ Δ² to sums[2·(row0 + r)
 *   + 1]. Both sums are over the columns of the block.
 */

import { defineKernel } from "./kernel.ts";
import { below, words } from "./kernel_case.ts";
import {
  type BlockOptions,
  columnLoopBindings as bindings,
  columnLoopCase,
  columnLoopParams as params,
  columnLoopShader,
  HARDWARE,
  SOFTWARE,
} from "./column_loop.ts";
import code from "../../../shaders/prune_block.wgsl" with { type: "text" };

/**
 * Prunes the entries that the kernels of `select_block.ts` chose. `keys`, (rows of the matrix, size) u32, has the key of each
 * entry, which is smaller for a smaller score. selection[0] is the threshold. An entry is pruned if its key is less
 * than the threshold. Of the entries whose key equals the threshold, the first selection[2 + row0 + r] of each row are
 * pruned, and that number is decremented for each of them.
 */
export const pruneBlock = defineKernel({
  name: "prune_block",
  bindings: { ...bindings, keys: "read", selection: "read_write" },
  params,
  shader: columnLoopShader(code, HARDWARE),
  softwareShader: columnLoopShader(code, SOFTWARE),
  cases: () => [pruneBlockCase(128, false), pruneBlockCase(256, true), pruneBlockCase(77, true)],
});

/**
 * Prunes in an n:m pattern. Each row keeps `keep` entries of each group of `group` consecutive columns. The entries to
 * prune are chosen when the loop reaches the first column of the group, by the weights with their updates so far.
 * Forced entries are chosen first, and all of them are pruned even if fewer than `keep` entries remain. Then the
 * entries with the smallest |w[j]/U[j,j]| are chosen, and among equal entries the entry in the lower column. If the
 * last group has only g < group columns, it keeps ceil(keep·g/group) entries. `forced` has `words` u32
 * words per row of the matrix. Bit c%32 of word c/32 is set if the entry in column c of the matrix is forced. `forced`
 * is read only if `has_forced` = 1.
 */
export const pruneBlockNM = defineKernel({
  name: "prune_block_n_m",
  bindings: { ...bindings, forced: "read" },
  params: { ...params, keep: "u32", group: "u32", has_forced: "u32" },
  shader: columnLoopShader(code, HARDWARE),
  softwareShader: columnLoopShader(code, SOFTWARE),
  cases: () => [
    pruneBlockNMCase(128, false, 3, 5, 1),
    pruneBlockNMCase(256, true, 2, 4, 0),
    pruneBlockNMCase(77, true, 40, 100, 0),
  ],
});

/** Keys with four values, so that most rows have ties, and a selection that prunes some of the ties of each row. */
function tiedKeys(rows: number, size: number) {
  const keys = below(4, rows * size, 305).map((value) => [0, 5, 0x80000000, 0xffffffff][value]);
  const selection = below(size / 3, 2 + rows, 306).map((value, i) => i === 0 ? 0x80000000 : value);
  return { keys, selection };
}

export function pruneBlockCase(size: number, isAligned: boolean, options?: BlockOptions) {
  const { buffers, ...block } = columnLoopCase(size, isAligned, options);
  const { row0, rows } = block.params, choice = () => tiedKeys(row0 + rows, size);
  return { feature: `${size} columns`, ...block, buffers: () => ({ ...buffers(), ...choice() }) };
}

export function pruneBlockNMCase(
  size: number,
  isAligned: boolean,
  keep: number,
  group: number,
  has_forced: number,
  options?: BlockOptions,
) {
  const { params, buffers, roundings } = columnLoopCase(size, isAligned, options);
  return {
    feature: `${size} columns, ${keep}:${group}`,
    params: { ...params, keep, group, has_forced },
    buffers: () => {
      const block = buffers();
      return {
        ...block,
        // Some scores are at least 2, so that all bits of their exponents matter.
        work: block.work.map((value) => size === 256 ? 4 * value : value),
        forced: words(block.mask.length, 307).map((word) => word & 0x10010101),
      };
    },
    roundings,
  };
}

/**
 * Combines the lazy batch update of a block with the first step of the selection in `select_block.ts`. In the lazy
 * batch update (arXiv 2301.00774), SparseGPT adds the errors of all earlier blocks to the weights of a block. The
 * kernel also computes the keys of the updated weights and the histogram of their first digits. One dispatch is faster
 * than several: on a GPU each dispatch waits for the dispatch before it, and a CPU still has the weights in its cache.
 */

import { defineKernel, u32 } from "../kernel.ts";
import { below, coarse, filled, positives, words } from "../kernel_case.ts";
import { DIGITS_LENGTH } from "./select_block.ts";
import shared from "../../../../shaders/shared/select.wgsl" with { type: "text" };
import digits from "../../../../shaders/shared/digits.wgsl" with { type: "text" };
import own from "../../../../shaders/update_block.wgsl" with { type: "text" };

/** The edge of the square that a workgroup computes, as in shaders/update_block.wgsl. */
const PATCH = 64;

/**
 * For r < rows and c < cols, with R = row0 + r and j = first + c:
 * - work[R·ldwork + c] ← w[w_offset + r·ldw + c] + Σ_{p < depth} a[a_offset + r·lda + p]·u[u_offset + p·ldu + c].
 * - keys[R·cols + c] ← bits(|work·scale[j]|) + 1, which has the same order as the score, or 0 if the entry is forced,
 *   which is bit j%32 of forced[R·words + j/32]. `forced` is read only if `has_forced` is 1.
 * - digits[d] += the number of keys that have d in their upper 11 bits.
 *
 * `scale` has R[j,j], where H = R·Rᵀ is the Hessian. The score |w·R[j,j]| has the same order as (w·R[j,j])², the score in
 * the SparseGPT paper, and does not underflow as early. U, (cols, cols), is upper triangular. Its elements below the diagonal are zeros, which an implementation may or may
 * not read. `depth` is `cols`, or 0 without earlier blocks, and then A and U are not read. A and W have only the `rows`
 * rows of the dispatch, which are rows of the matrix from row0 on.
 */
export const updateBlock = defineKernel({
  name: "update_block",
  bindings: {
    a: "read",
    u: "read",
    w: "read",
    scale: "read",
    forced: "read",
    work: "read_write",
    keys: "read_write",
    digits: "read_write",
  },
  params: {
    ...u32("rows", "cols", "depth", "row0", "a_offset", "lda", "u_offset", "ldu"),
    ...u32("w_offset", "ldw", "ldwork", "first", "words", "has_forced"),
  },
  shader: {
    code: shared + digits + own,
    grid: (p) => [Math.ceil(p.cols / PATCH), Math.ceil(p.rows / PATCH), 1],
  },
  cases: () =>
    ([
      ["aligned rows", 0, 70],
      ["unaligned rows, forced entries", 1, 70],
      ["no earlier blocks", 0, 0],
    ] as const).map(([feature, has_forced, depth]) => ({
      feature,
      ...updateBlockCase(90, 70, depth, 4 + has_forced, has_forced),
    })),
});

/**
 * A block of (rows, cols) at row 3 and column 40 of a matrix. The rows of A and U are quads if `padding` is 4 and
 * `cols` is divisible by four. All sums are of multiples of 1/64 and so exact, and the bits of all outputs are known.
 */
export function updateBlockCase(
  rows: number,
  cols: number,
  depth: number,
  padding: number,
  has_forced: number,
) {
  const row0 = 3,
    first = 40,
    lda = cols + padding - 2,
    ldu = cols + padding + 2,
    ldw = cols + 3,
    ldwork = cols + 5;
  const perRow = Math.ceil((first + cols) / 32), offset = padding;
  const place = { a_offset: offset, lda, u_offset: offset, ldu, w_offset: 2, ldw, ldwork };
  return {
    params: { rows, cols, depth, row0, ...place, first, words: perRow, has_forced },
    buffers: () => ({
      a: coarse(offset + rows * lda + 4, 231),
      u: coarse(offset + cols * ldu + 4, 247).map((value, i) => {
        const at = i - offset;
        return at >= 0 && Math.floor(at / ldu) > at % ldu ? 0 : value;
      }),
      w: coarse(2 + rows * ldw, 248).map((value) => value || 0.125), // a sum may turn −0 into 0
      scale: positives(first + cols + 10, 232).map((value) => 4 * value),
      forced: words((row0 + rows) * perRow, 233),
      work: filled((row0 + rows + 1) * ldwork),
      keys: words((row0 + rows) * cols + 5, 234),
      digits: below(20, DIGITS_LENGTH, 235),
    }),
  };
}

/**
 * Pruning and rounding in one pass over the columns, in naive float64 and in the published form: GPTQ (Frantar et
 * al., arXiv 2210.17323, algorithm 1, with one column at a time) joined with SparseGPT (arXiv 2301.00774, section
 * 3.5). U is the upper Cholesky factor of the inverse Hessian, H⁻¹ = UᵀU, and each column updates all columns
 * after it. The grids are in `quantization.ts`. Entries are chosen as in `sparsegpt.ts`. This file shares no code with `src`.
 */

import {
  codeOf,
  factorOf,
  type Followed,
  followedGrid,
  gridOf,
  type ReferenceGrid,
  type ScaleLevels,
  searchGrid,
  valueOf,
} from "./quantization.ts";
import {
  type Groups,
  type ReferenceFactor,
  referenceFactor,
  type ReferenceLayer,
  type ReferenceSolution,
  withLoss,
} from "./sparsegpt.ts";

/** The settings of the pass. */
export interface GptqOptions {
  readonly bits: number;
  readonly symmetric: boolean;
  /** The number of columns that share a grid, or 0 if a whole row shares it. */
  readonly groupSize: number;
  /** The fraction of entries to prune, if neither `groups` nor `fixedMask` is given. */
  readonly sparsity: number;
  readonly groups?: Groups;
  /** (rows, cols): 1 where the entry is kept. If this is given, `sparsity` and `groups` are ignored. */
  readonly fixedMask?: ArrayLike<number>;
  /** Whether the range of a grid is searched, with the importance 1/U(j, j) of column j. The default is `minmax`. */
  readonly ranges?: "minmax" | "search";
  /** (rows, cols): 0 where a search knows that the entry is pruned. The default is what is known when the grid is computed. */
  readonly searchedEntries?: ArrayLike<number>;
  /** The dtype to which scales are rounded. The default is F32. */
  readonly scaleDtype?: "F32" | "F16" | "BF16";
  /** The bits of the integers of scales with two levels. A factor belongs to 256 columns of a row. */
  readonly scaleBits?: number;
  /** The choices of the code under test, to follow very close to ties (`quantization.ts`). */
  readonly follow?: Followed;
  /** The number of columns per block. An exact number of entries is pruned in each block. */
  readonly blocksize: number;
}

/** The result of the pass. Its weights `q` are rounded. */
export interface GptqSolution extends ReferenceSolution {
  /** (rows, cols): the codes. */
  readonly codes: Uint8Array;
  /** (rows, grids): the scale and the zero point of each grid. */
  readonly scales: Float64Array;
  readonly zeros: Float64Array;
}

/** Prunes and rounds a layer. The columns of dead inputs are set to 0 first. */
export function referenceGptq(
  layer: ReferenceLayer,
  { u, dead }: ReferenceFactor,
  options: GptqOptions,
): GptqSolution {
  const { rows, cols, forced } = layer;
  const { bits, symmetric, groupSize, sparsity, groups, fixedMask, follow, blocksize } = options;
  const scaleDtype = ["F32", "F16", "BF16"].indexOf(options.scaleDtype ?? "F32");
  const original = Float64Array.from(layer.weight);
  for (const j of dead) for (let r = 0; r < rows; r++) original[r * cols + j] = 0;
  const w = original.slice(), q = new Float64Array(rows * cols), codes = new Uint8Array(rows * cols);
  const width = groupSize || cols, grids = Math.ceil(cols / width);
  const chosen: ReferenceGrid[] = [];
  const mask = fixedMask
    ? Uint8Array.from(fixedMask)
    : Uint8Array.from({ length: rows * cols }, (_, i) => forced?.[i] ? 0 : 1);
  const score = (i: number) => (w[i] / u[(i % cols) * (cols + 1)]) ** 2;

  /** Prunes the entries of `entries` with the smallest scores, until `count` are pruned. Forced entries count among these. */
  const prune = (entries: readonly number[], count: number) => {
    const free = entries.filter((i) => mask[i]).sort((a, b) => score(a) - score(b) || a - b);
    for (const i of free.slice(0, Math.max(0, count - (entries.length - free.length)))) mask[i] = 0;
  };
  const entriesOf = (r: number, from: number, to: number) =>
    Array.from({ length: Math.max(0, to - from) }, (_, c) => r * cols + from + c);
  const allRows = Array.from({ length: rows }, (_, r) => r);
  /** The weights as a grid sees them. The grid of a whole row is computed before it is known which entries are pruned. */
  const gridWeights = (entries: readonly number[]) => {
    const kept = options.searchedEntries ?? mask;
    return entries.map((i) => options.ranges === "search" && groupSize && !kept[i] ? 0 : w[i]);
  };
  const limit = options.scaleBits && 2 ** (options.scaleBits - (symmetric ? 1 : 0)) - 1;
  const levels: (ScaleLevels | undefined)[] = [];
  const factorOfRow = (r: number, first: number) => {
    const starts = Array.from({ length: 256 / width }, (_, g) => first + g * width).filter((j) => j < cols);
    const weights = starts.map((j) => gridWeights(entriesOf(r, j, Math.min(j + width, cols))));
    const followed = follow?.scales ? starts.map((j) => follow.scales![r * grids + j / width]) : [];
    const isSearched = options.ranges === "search";
    return factorOf(weights, { bits, symmetric, scaleDtype, limit: limit!, isSearched }, followed);
  };

  let pruned = 0;
  for (let j = 0; j < cols; j++) {
    if (j % blocksize === 0 && !groups && !fixedMask) {
      const end = Math.min(j + blocksize, cols);
      const block = allRows.flatMap((r) => entriesOf(r, j, end));
      prune(block, Math.round(sparsity * rows * end) - pruned);
      pruned += block.filter((i) => !mask[i]).length;
    }
    if (limit && j % 256 === 0) { for (const r of allRows) levels[r] = { limit, factor: factorOfRow(r, j) }; }
    if (j % width === 0) {
      for (const r of allRows) {
        const entries = entriesOf(r, j, Math.min(j + width, cols));
        const at = r * grids + j / width;
        const importance = entries.map((i) => 1 / u[(i % cols) * (cols + 1)]);
        const weights = gridWeights(entries);
        const isFree = !symmetric && (!groups || !!fixedMask) && entries.every((i) => mask[i] && w[i] !== 0);
        const rule = { scaleDtype, levels: levels[r] && { ...levels[r], isFree } };
        chosen[at] = options.ranges === "search"
          ? searchGrid(weights, importance, { bits, symmetric, ...rule }, followedGrid(follow, at))
          : gridOf(weights, bits, symmetric, follow?.zeros[at], rule);
      }
    }
    // A group of an n:m pattern begins at the start of every block.
    if (groups && !fixedMask && (j % blocksize) % groups.group === 0) {
      const size = Math.min(groups.group, blocksize - j % blocksize, cols - j);
      for (const r of allRows) {
        prune(entriesOf(r, j, j + size), size - Math.ceil(groups.keep * size / groups.group));
      }
    }
    for (const r of allRows) {
      const i = r * cols + j, at = r * grids + Math.floor(j / width);
      const grid = chosen[at];
      codes[i] = mask[i] ? codeOf(w[i], grid, bits, follow?.codes[i]) : grid.zero;
      q[i] = mask[i] ? valueOf(codes[i], grid) : 0;
      const error = (w[i] - q[i]) / u[j * cols + j];
      for (let c = j; c < cols; c++) w[r * cols + c] -= error * u[j * cols + c];
    }
  }
  const [scales, zeros] = (["scale", "zero"] as const).map((key) =>
    Float64Array.from(chosen, (grid) => grid[key])
  );
  return { ...withLoss(original, q, mask, layer), codes, scales, zeros };
}

/**
 * Prunes and rounds a layer in activation order: the columns are sorted by decreasing diagonal entry of H, and
 * the result is permuted back. Columns with equal entries keep their order. Each row has one grid.
 */
export function referenceActivationOrder(
  layer: ReferenceLayer,
  damping: number,
  options: Omit<GptqOptions, "groupSize" | "groups">,
): GptqSolution {
  const { rows, cols, hessian } = layer;
  const diagonal = Array.from({ length: cols }, (_, j) => hessian[j * (cols + 1)]);
  const order = diagonal.map((_, j) => j).sort((a, b) => diagonal[b] - diagonal[a] || a - b);
  const take = (x: ArrayLike<number>) =>
    Float64Array.from({ length: rows * cols }, (_, i) => x[i - i % cols + order[i % cols]]);
  const h = Float64Array.from({ length: cols * cols }, (_, i) => {
    return hessian[order[Math.floor(i / cols)] * cols + order[i % cols]];
  });
  const permuted: ReferenceLayer = {
    rows,
    cols,
    weight: take(layer.weight),
    hessian: h,
    forced: layer.forced && take(layer.forced),
  };
  const fixedMask = options.fixedMask && take(options.fixedMask);
  const follow = options.follow && { ...options.follow, codes: take(options.follow.codes) };
  const solution = referenceGptq(permuted, referenceFactor(h, cols, damping), {
    ...options,
    fixedMask,
    follow,
    groupSize: 0,
  });
  const restore = <T extends Float64Array | Uint8Array>(x: T): T => {
    const y = x.slice() as T;
    x.forEach((value, i) => y[i - i % cols + order[i % cols]] = value);
    return y;
  };
  return {
    ...solution,
    q: restore(solution.q),
    codes: restore(solution.codes),
    mask: restore(solution.mask),
  };
}

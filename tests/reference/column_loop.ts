/**
 * The column loop of SparseGPT for one block of columns, in naive float64, one row at a time (arXiv 2301.00774, algorithm
 * 1, the inner loop over j). It visits the columns from left to right, sets the pruned entries to 0, and subtracts the
 * resulting error from the columns that follow. U is the upper Cholesky factor of the inverse Hessian, H⁻¹ = UᵀU.
 */

import { bitOf, type Contents, eachElement, packed, type Params, setBit } from "./kernel_reference.ts";
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

/**
 * One block of `size` columns: `work` (rows, size) with the updates from all previous blocks, `original`
 * (rows, size) without updates, and the diagonal block of U, (size, size) upper triangular.
 */
export interface ReferenceBlock {
  readonly rows: number;
  readonly size: number;
  readonly work: ArrayLike<number>;
  readonly original: ArrayLike<number>;
  readonly u: ArrayLike<number>;
}

/** The result of the loop. */
export interface ReferenceColumns {
  /** (rows, size): the pruned and updated weights. */
  readonly q: Float64Array;
  /** (rows, size): original − q. */
  readonly delta: Float64Array;
  /** (rows, size): 1 where the entry is pruned, 0 elsewhere. */
  readonly pruned: Uint8Array;
  /** (rows): the sum of err² over the columns, where err is the error of an entry divided by the diagonal of U. */
  readonly errorSums: Float64Array;
  /** (rows): the sum of delta² over the columns. */
  readonly deltaSums: Float64Array;
}

/** Runs the loop with a given choice: the entries where `pruned` (rows, size) is 1 are pruned. */
export function referenceColumnLoop(block: ReferenceBlock, pruned: Uint8Array): ReferenceColumns {
  return columnLoop(block, pruned, () => {});
}

/**
 * Runs the loop with an n:m pattern, which keeps `keep` entries of every `group` consecutive columns in each
 * row. The entries of a group are chosen when the loop reaches the first column of the group. The score of an
 * entry in column j is |w/U(j, j)|, where w is the weight as updated so far. The entries with the smallest
 * scores are pruned. Entries where `forced` (rows, size) is 1 are always pruned.
 */
export function referenceGroupLoop(
  block: ReferenceBlock,
  { keep, group, forced }: { keep: number; group: number; forced?: ArrayLike<number> },
): ReferenceColumns {
  const { size, u } = block;
  const pruned = new Uint8Array(block.rows * size);
  return columnLoop(block, pruned, (row, j, w) => {
    if (j % group) return;
    const end = Math.min(j + group, size);
    const entries = Array.from({ length: end - j }, (_, c) => ({
      at: row * size + j + c,
      score: forced?.[row * size + j + c] ? -1 : Math.abs(w[j + c] / u[(j + c) * (size + 1)]),
    }));
    entries.sort((a, b) => a.score - b.score || a.at - b.at);
    const count = Math.max(
      end - j - Math.ceil(keep * (end - j) / group),
      entries.filter(({ score }) => score < 0).length,
    );
    for (const { at } of entries.slice(0, count)) pruned[at] = 1;
  });
}

/** How `referenceRoundingLoop` prunes and rounds. */
export interface RoundingOptions {
  readonly bits: number;
  readonly symmetric: boolean;
  /** The columns that share a grid, or 0 if a whole row shares one of `rowGrids`. */
  readonly gridSize: number;
  readonly rowGrids?: readonly ReferenceGrid[];
  /** (rows, size): 1 where the entry may be kept. */
  readonly allowed: ArrayLike<number>;
  /** An n:m pattern. Entries that may not be kept are the first to be pruned. */
  readonly groups?: { readonly keep: number; readonly group: number };
  /** Codes (rows, size) and zeros (rows, grids) to follow where f32 decides (`quantization.ts`). */
  readonly follow: Followed;
  /** Whether the grids of groups are searched, with the importance 1/U(j, j) of column j. */
  readonly searched?: boolean;
  readonly scaleDtype?: number;
  /** The largest integer of scales with two levels, whose factor belongs to a row of the block. 0 means that they have one level. */
  readonly scaleLimit?: number;
}

/**
 * Runs the loop and rounds the entries that are kept (GPTQ, arXiv 2210.17323). The grid of a group of columns is
 * computed when the loop reaches the first of them.
 *
 * @returns the result, the codes (rows, size) of the kept entries, and the grids, row by row
 */
export function referenceRoundingLoop(
  block: ReferenceBlock,
  { bits, symmetric, gridSize, rowGrids, allowed, groups, follow, searched, scaleDtype, scaleLimit: limit }:
    RoundingOptions,
): ReferenceColumns & { codes: Float64Array; grids: ReferenceGrid[] } {
  const { rows, size, u } = block;
  const gridsPerRow = gridSize ? Math.ceil(size / gridSize) : 1;
  const pruned = Uint8Array.from({ length: rows * size }, (_, i) => allowed[i] ? 0 : 1);
  const codes = new Float64Array(rows * size), grids: ReferenceGrid[] = [...rowGrids ?? []];
  let levels: ScaleLevels | undefined;
  const weightsOf = (row: number, j: number, w: Float64Array) =>
    [...w.subarray(j, Math.min(j + gridSize, size))].map((weight, c) =>
      searched && pruned[row * size + j + c] ? 0 : weight
    );
  const choose = (row: number, j: number, w: Float64Array) => {
    if (j === 0 && limit) {
      const groups = Array.from({ length: gridsPerRow }, (_, g) => weightsOf(row, g * gridSize, w));
      const own = Array.from(follow.scales ?? []).slice(row * gridsPerRow, (row + 1) * gridsPerRow);
      levels = {
        limit,
        factor: factorOf(groups, { bits, symmetric, scaleDtype, limit, isSearched: searched }, own),
      };
    }
    if (gridSize && j % gridSize === 0) {
      const weights = weightsOf(row, j, w), at = grids.length;
      const isFree = !symmetric && !groups &&
        weights.every((weight, c) => weight !== 0 && !pruned[row * size + j + c]);
      const rule = { scaleDtype, levels: levels && { ...levels, isFree } };
      const importance = weights.map((_, c) => 1 / u[(j + c) * (size + 1)]);
      grids.push(
        searched
          ? searchGrid(weights, importance, { bits, symmetric, ...rule }, followedGrid(follow, at))
          : gridOf(weights, bits, symmetric, follow.zeros[at], rule),
      );
    }
    if (!groups || j % groups.group) return;
    const end = Math.min(j + groups.group, size);
    const score = (c: number) => Math.abs(w[c] / u[c * (size + 1)]);
    const free = Array.from({ length: end - j }, (_, i) => j + i).filter((c) => !pruned[row * size + c]);
    const count = free.length - Math.ceil(groups.keep * (end - j) / groups.group);
    free.sort((a, b) => score(a) - score(b) || a - b);
    for (const c of free.slice(0, Math.max(0, count))) pruned[row * size + c] = 1;
  };
  const settle = (row: number, j: number, weight: number) => {
    const at = row * size + j;
    const grid = grids[row * gridsPerRow + (gridSize ? Math.floor(j / gridSize) : 0)];
    codes[at] = pruned[at] ? grid.zero : codeOf(weight, grid, bits, follow.codes[at]);
    return pruned[at] ? 0 : valueOf(codes[at], grid);
  };
  return { ...columnLoop(block, pruned, choose, settle), codes, grids };
}

/**
 * Runs the loop. `choose` is called before each entry is handled, and may set elements of `pruned`. `settle`
 * returns the result of an entry that is kept, which is its weight unless it is rounded.
 */
function columnLoop(
  { rows, size, work, original, u }: ReferenceBlock,
  pruned: Uint8Array,
  choose: (row: number, j: number, w: Float64Array) => void,
  settle: (row: number, j: number, weight: number) => number = (_row, _j, weight) => weight,
): ReferenceColumns {
  const q = new Float64Array(rows * size), delta = new Float64Array(rows * size);
  const errorSums = new Float64Array(rows), deltaSums = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    const w = Float64Array.from({ length: size }, (_, c) => work[r * size + c]);
    for (let j = 0; j < size; j++) {
      choose(r, j, w);
      const at = r * size + j;
      const settled = settle(r, j, w[j]);
      q[at] = pruned[at] ? 0 : settled;
      const error = (w[j] - q[at]) / u[j * size + j];
      for (let c = j; c < size; c++) w[c] -= error * u[j * size + c];
      delta[at] = original[at] - q[at];
      errorSums[r] += error * error;
      deltaSums[r] += delta[at] * delta[at];
    }
  }
  return { q, delta, pruned, errorSums, deltaSums };
}

/** Cuts the block out of its buffers. */
export function blockOf({ work, u, w }: Contents, p: Params): ReferenceBlock {
  return {
    rows: p.rows,
    size: p.size,
    work: packed(work, p.rows, p.size, p.row0 * p.ldwork, p.ldwork),
    original: packed(w, p.rows, p.size, p.w_offset, p.ldw),
    u: packed(u, p.size, p.size, p.u_offset, p.ldu),
  };
}

/** Returns an array of (rows, size) with the bits of the block in `mask`. */
export function blockBits(mask: ArrayLike<number>, p: Params): Uint8Array {
  return Uint8Array.from({ length: p.rows * p.size }, (_, i) => {
    return bitOf(mask, p.words, p.row0 + Math.floor(i / p.size), p.first + i % p.size);
  });
}

/** Writes the result of a loop to the buffers. */
export function storeBlock({ w, q, mask, sums }: Contents, p: Params, columns: ReferenceColumns): void {
  eachElement(p.rows, p.size, (r, j) => {
    const at = r * p.size + j, element = r * p.ldw + p.w_offset + j;
    q[element] = columns.q[at];
    w[element] = columns.delta[at];
    setBit(mask, p.words, p.row0 + r, p.first + j, columns.pruned[at] === 0);
  });
  for (let r = 0; r < p.rows; r++) {
    sums[2 * (p.row0 + r)] += columns.errorSums[r];
    sums[2 * (p.row0 + r) + 1] += columns.deltaSums[r];
  }
}

/**
 * Chooses the columns that a layer loses, one set of neighbours after another. Each time it takes the set whose removal
 * adds the least to the error, as ZipLM (arXiv 2302.04089) and SlimGPT (arXiv 2412.18110) do. G is the inverse of the
 * damped statistics, and W are the weights that compensate for the removals so far. The removal of the set S, of g
 * columns, adds
 *
 *     ΔE(S) = tr(W_S·(G_SS)⁻¹·W_Sᵀ) = tr((G_SS)⁻¹·A_SS)        with A = Wᵀ·W
 *
 * to the error. Then W ← W − W_S·c with c = (G_SS)⁻¹·G_S,: compensates for it, and with u = A_S,: − ½·A_SS·c
 *
 *     G ← G − G_S,:ᵀ·c          A ← A − cᵀ·u − uᵀ·c
 *
 * so the weights themselves are not needed. The scores need only the blocks of G and A on the diagonal, which the host
 * keeps in f64. The device changes the whole matrices by products, after every {@link MAX_PENDING_COLUMNS} removed
 * columns. Until then, the host subtracts the changes from the rows that it reads. To remove k of n columns takes
 * 3·k·n² multiplications on the device, and about k·n·(100 + 3·g) on the host.
 */

import { sleep } from "../../../base/waiting.ts";
import type { Backend, DeviceBuffer } from "../../../device/backend.ts";
import { gemmTN } from "../../../device/kernels/gemm.ts";
import { createBufferOf } from "../../../device/host_memory.ts";
import { ResourceSet } from "../../../device/owned.ts";
import type { TiledMatrix } from "../../../device/tiled_matrix.ts";
import { gemm } from "../../linalg/gemm.ts";
import { copyRows } from "../../linalg/tile_arithmetic.ts";

/** The number of removed columns after which the device changes G and A. */
export const MAX_PENDING_COLUMNS = 64;

/** The multiplications of the host after which other tasks of the process may run. They take about 50 ms. */
const TASK_MULTIPLICATIONS = 1 << 25;

/** The rows that are read at once to find the blocks on the diagonal. */
const STRIP_ROWS = 256;

/**
 * Returns the `count` columns to remove, in the order of their removal. Of equal scores, the first set is taken.
 * @param inverse G, (n, n) f32 in full storage. It is overwritten
 * @param gram A, (n, n) f32 in full storage. It is overwritten
 * @param group g, the number of neighbouring columns in a set, which divides n and `count`
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function chooseColumns(
  backend: Backend,
  inverse: TiledMatrix,
  gram: TiledMatrix,
  group: number,
  count: number,
): Promise<number[]> {
  const g = await ChangedMatrix.open(backend, inverse, group);
  const a = await ChangedMatrix.open(backend, gram, group);
  const remaining = new Set(Array.from({ length: inverse.cols / group }, (_, set) => set));
  const removed: number[] = [];
  while (removed.length < count) {
    const set = await cheapestSet(remaining, g, a, group), start = set * group;
    remaining.delete(set);
    for (let column = start; column < start + group; column++) removed.push(column);
    if (removed.length === count) break;
    const lower = choleskyOf(g.block(set), group);
    if (!lower) continue; // All remaining scores are infinite, and no change by such a set could be trusted.
    const rowsOfG = await g.rows(set), rowsOfA = await a.rows(set), c = rowsOfG.map((row) => row.slice());
    solveLower(lower, c);
    const u = rowsOfA.map((row, i) => {
      const changed = row.slice();
      for (let k = 0; k < group; k++) addMultiple(changed, -0.5 * rowsOfA[i][start + k], c[k]);
      return changed;
    });
    g.subtract([{ left: rowsOfG, right: c }], remaining);
    a.subtract([{ left: c, right: u }, { left: u, right: c }], remaining);
  }
  return removed;
}

/** Returns the set with the smallest ΔE. The score of a set takes about 2·g³ multiplications. */
async function cheapestSet(
  remaining: ReadonlySet<number>,
  g: ChangedMatrix,
  a: ChangedMatrix,
  group: number,
): Promise<number> {
  let [best, least] = [-1, Infinity], multiplications = 0;
  for (const set of remaining) {
    multiplications += 2 * group ** 3;
    if (multiplications >= TASK_MULTIPLICATIONS) {
      await sleep(1);
      multiplications = 0;
    }
    const score = traceOfQuotient(g.block(set), a.block(set), group);
    if (score < least || best < 0) [best, least] = [set, score];
  }
  return best;
}

/**
 * Returns tr(G⁻¹·A), or infinity if the rounding of f32 has made the block G indefinite. The inputs of such a block are
 * far larger than all others, so they are removed last.
 */
function traceOfQuotient(g: Float64Array, a: Float64Array, order: number): number {
  if (order === 1) return g[0] > 0 ? a[0] / g[0] : Infinity;
  const lower = choleskyOf(g, order);
  if (!lower) return Infinity;
  const rows = Array.from({ length: order }, (_, i) => a.slice(i * order, (i + 1) * order));
  solveLower(lower, rows);
  return rows.reduce((sum, row, i) => sum + row[i], 0);
}

/** Returns the rows of the lower triangular L with L·Lᵀ = M, or undefined if M is not positive definite. */
function choleskyOf(m: Float64Array, order: number): Float64Array[] | undefined {
  const rows = Array.from({ length: order }, (_, i) => m.slice(i * order, (i + 1) * order));
  for (let i = 0; i < order; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = rows[i][j];
      for (let k = 0; k < j; k++) sum -= rows[i][k] * rows[j][k];
      if (i === j && !(sum > 0)) return undefined;
      rows[i][j] = i === j ? Math.sqrt(sum) : sum / rows[j][j];
    }
  }
  return rows;
}

/** Overwrites the rows of B with those of (L·Lᵀ)⁻¹·B. */
function solveLower(lower: readonly Float64Array[], b: readonly Float64Array[]): void {
  const order = b.length;
  for (let i = 0; i < order; i++) {
    for (let k = 0; k < i; k++) addMultiple(b[i], -lower[i][k], b[k]);
    scale(b[i], 1 / lower[i][i]);
  }
  for (let i = order - 1; i >= 0; i--) {
    for (let k = i + 1; k < order; k++) addMultiple(b[i], -lower[k][i], b[k]);
    scale(b[i], 1 / lower[i][i]);
  }
}

function addMultiple(target: Float64Array, factor: number, source: Float64Array): void {
  for (let j = 0; j < target.length; j++) target[j] += factor * source[j];
}

function scale(target: Float64Array, factor: number): void {
  for (let j = 0; j < target.length; j++) target[j] *= factor;
}

/** The change −leftᵀ·right of a matrix of order n. Both have the same number of rows of length n. */
interface Change {
  readonly left: readonly Float64Array[];
  readonly right: readonly Float64Array[];
}

/** A symmetric matrix on the device, with changes that the device has not made yet. */
class ChangedMatrix {
  /** The blocks on the diagonal, (group, group) each, with all changes. */
  readonly #blocks: Float64Array[] = [];
  readonly #pending: Change[] = [];
  #pendingColumns = 0;

  private constructor(
    private readonly backend: Backend,
    private readonly matrix: TiledMatrix,
    private readonly group: number,
  ) {}

  /** Reads the blocks on the diagonal. The caller keeps the matrix. */
  static async open(backend: Backend, matrix: TiledMatrix, group: number): Promise<ChangedMatrix> {
    const changed = new ChangedMatrix(backend, matrix, group);
    const { rows: n } = matrix, step = group * Math.max(1, Math.floor(STRIP_ROWS / group));
    for (let first = 0; first < n; first += step) {
      const strip = await changed.#read(first, Math.min(step, n - first));
      for (let row = 0; row < strip.length; row += group) {
        const start = first + row, block = new Float64Array(group * group);
        for (let i = 0; i < group; i++) block.set(strip[row + i].subarray(start, start + group), i * group);
        changed.#blocks.push(block);
      }
    }
    return changed;
  }

  block(set: number): Float64Array {
    return this.#blocks[set];
  }

  /** Returns the rows of a set, (n) f64 each, with all changes. */
  async rows(set: number): Promise<Float64Array[]> {
    const start = set * this.group, rows = await this.#read(start, this.group);
    for (const { left, right } of this.#pending) {
      for (const [k, multiple] of right.entries()) {
        rows.forEach((row, i) => addMultiple(row, -left[k][start + i], multiple));
      }
    }
    return rows;
  }

  /** Adds the changes by one removed set. @param sets the sets whose blocks are needed later */
  subtract(changes: readonly Change[], sets: Iterable<number>): void {
    const group = this.group;
    for (const set of sets) {
      const block = this.#blocks[set], start = set * group;
      for (const { left, right } of changes) {
        for (let k = 0; k < left.length; k++) {
          for (let i = 0; i < group; i++) {
            const factor = left[k][start + i];
            for (let j = 0; j < group; j++) block[i * group + j] -= factor * right[k][start + j];
          }
        }
      }
    }
    this.#pending.push(...changes);
    this.#pendingColumns += group;
    if (this.#pendingColumns >= MAX_PENDING_COLUMNS) this.#flush();
  }

  /** Queues the pending changes on the device. */
  #flush(): void {
    const left = this.#upload(this.#pending.flatMap((change) => change.left));
    const right = this.#upload(this.#pending.flatMap((change) => change.right));
    const k = this.#pending.reduce((sum, change) => sum + change.left.length, 0), ld = this.matrix.cols;
    for (const { buffer, rows: m, cols: n, ld: tileLd, row0, col0 } of this.matrix.tiles()) {
      const a = { buffer: left, offset: row0, ld }, b = { buffer: right, offset: col0, ld };
      const c = { buffer, offset: 0, ld: tileLd };
      gemm(this.backend, gemmTN, a, b, c, { m, n, k, alpha: -1, beta: 1 });
    }
    left.destroy();
    right.destroy();
    this.#pending.length = this.#pendingColumns = 0;
  }

  #upload(rows: readonly Float64Array[]): DeviceBuffer {
    const n = this.matrix.cols, values = new Float32Array(rows.length * n);
    rows.forEach((row, i) => values.set(row, i * n));
    return createBufferOf(this.backend, "changes of a matrix", values);
  }

  /** Reads `count` rows as the device has them. */
  async #read(start: number, count: number): Promise<Float64Array[]> {
    const n = this.matrix.cols, byteLength = 4 * count * n;
    using scratch = new ResourceSet();
    const buffer = scratch.add(this.backend.createBuffer("rows of a matrix", byteLength));
    const target = { buffer, offset: 0, ld: n };
    copyRows(this.backend, this.matrix, { start, end: start + count }, target);
    const values = new Float32Array((await this.backend.read(buffer, 0, byteLength)).buffer, 0, count * n);
    return Array.from({ length: count }, (_, i) => Float64Array.from(values.subarray(i * n, (i + 1) * n)));
  }
}

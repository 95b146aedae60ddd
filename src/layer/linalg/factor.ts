/**
 * Factors the calibration statistics of a layer (steps 1 to 3 of `src/layer/solvers/README.md`):
 * H + λ·mean(diag H)·I = R·Rᵀ with R upper triangular. The diagonal of H is prepared and damped on the CPU.
 */

import { type Backend, type DeviceBuffer, OutOfDeviceMemoryError } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import { checkBlocking, type TiledMatrix } from "../../device/tiled_matrix.ts";
import { activationOrder, type ColumnOrder, permuteSymmetric, uploadOrder } from "./column_order.ts";
import { InvalidStatisticsError, NotPositiveDefiniteError } from "./errors.ts";
import { type ReverseCholeskyOutputs, reverseCholeskyTiled } from "./reverse_cholesky.ts";
import { allocateLike, readDiagonal, writeDiagonal } from "./tile_arithmetic.ts";

/** The factorisation of one H of order n. It is immutable, so any number of solves can use it. */
export interface Factor {
  /** R, (n, n) f32 in upper storage. In its diagonal tiles, the elements below the diagonal blocks are undefined. */
  readonly r: TiledMatrix;
  /** (n, blocksize) f32: the inverses R_kk⁻¹ of R's diagonal blocks, each from row k·blocksize on. */
  readonly u: DeviceBuffer;
  /** (n) f32: the diagonal R[j,j]. */
  readonly diagonal: DeviceBuffer;
  /** (n) u32: 1 at dead inputs and 0 elsewhere. Input j is dead if H[j,j] is 0. Undefined if no input is dead. */
  readonly dead: DeviceBuffer | undefined;
  readonly blocksize: number;
  /** The damping λ of the successful attempt, as a fraction of the mean diagonal entry of H. */
  readonly damping: number;
  /** λ·mean(diag H), the value that was added to every diagonal entry of H. */
  readonly dampingAdded: number;
  /** The largest diagonal entry of H, without damping. */
  readonly largestDiagonal: number;
  /** Column c of the factor belongs to column `order.columns[c]` of H. Undefined if the columns were not permuted. */
  readonly order?: ColumnOrder;
  readonly byteLength: number;
  /** Frees the device memory. Idempotent. */
  destroy(): void;
}

interface FactorOptions {
  /** The damping λ ≥ 0 of the first attempt. */
  readonly damping: number;
  /** The tile edge of H must be a multiple of it. */
  readonly blocksize: number;
  /**
   * The order of the columns in which H is factored: a permutation, or with `activation` the order of falling
   * diagonal entries (`activationOrder`). Any order but the natural one takes the memory of a second H. @default "natural"
   */
  readonly order?: "natural" | "activation" | Uint32Array<ArrayBuffer>;
}

/** The largest statistics for which a failed factorisation is retried, in bytes: an order of 21,000. */
export const LARGEST_RETRIED = 2 ** 30;

/**
 * Factors `hessian`, (n, n) f32 upper storage, and takes ownership of it. Its memory is freed, or becomes memory
 * of the factor. If a pivot is not positive, `nextDamping` chooses more damping for the next attempt.
 * @throws {InvalidStatisticsError} {NotPositiveDefiniteError} if the last attempt failed
 * @throws {RangeError} if the tile edge is not a multiple of the block size
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function factor(
  backend: Backend,
  hessian: TiledMatrix,
  options: FactorOptions,
): Promise<Factor> {
  const { blocksize } = options, n = hessian.cols;
  using unfinished = new ResourceSet();
  unfinished.add(hessian);
  const allocate = (label: string, elements: number) =>
    unfinished.add(backend.createBuffer(label, 4 * elements));
  checkBlocking(`statistics of order ${n}`, hessian.edge, blocksize);
  const entries = await readDiagonal(backend, hessian);
  const natural = prepareDiagonal(entries);
  const columns = options.order === "activation" ? activationOrder(entries) : options.order;
  const order = columns instanceof Uint32Array ? unfinished.add(uploadOrder(backend, columns)) : undefined;
  const prepared = order ? prepareDiagonal(entries.map((_, c) => entries[order.columns[c]])) : natural;
  const h = order ? unfinished.add(permuteSymmetric(backend, hessian, order.forward)) : hessian;
  if (order) hessian.destroy();
  const dead = prepared.dead && allocate("dead inputs", n);
  if (prepared.dead && dead) backend.write(dead, 0, new Uint8Array(prepared.dead.buffer));
  const u = allocate("inverse diagonal blocks", n * blocksize);
  const diagonal = allocate("diagonal of R", n);
  const status = allocate("pivot status", 1);
  const separate = nextDamping(options.damping) !== undefined && allocateFactor(backend, h);
  const r = separate ? unfinished.add(separate) : h;
  const damping = await factorDamped(backend, h, r, prepared, { u, diagonal, status }, options);
  status.destroy();
  if (r !== h) h.destroy();
  const owned = unfinished.move();
  return {
    r,
    u,
    diagonal,
    dead,
    blocksize,
    damping,
    dampingAdded: damping * prepared.mean,
    largestDiagonal: entries.reduce((a, b) => Math.max(a, b), 0),
    order,
    byteLength: [r, u, diagonal, dead, order].reduce((sum, part) => sum + (part?.byteLength ?? 0), 0),
    destroy: () => owned.destroy(),
  };
}

/**
 * Factors H + λ·mean(diag H)·I with increasing λ, from `options.damping` on, and returns the first λ that succeeds.
 * @param r receives R. If it is `hessian` itself, there is only one attempt
 */
async function factorDamped(
  backend: Backend,
  hessian: TiledMatrix,
  r: TiledMatrix,
  { values, mean }: PreparedDiagonal,
  outputs: ReverseCholeskyOutputs,
  options: FactorOptions,
): Promise<number> {
  let { damping } = options;
  while (true) {
    writeDiagonal(backend, hessian, addDamping(values, damping * mean));
    backend.clear(outputs.status);
    reverseCholeskyTiled(backend, hessian, r, outputs, options.blocksize);
    const failedColumn = await readFailedColumn(backend, outputs.status);
    if (failedColumn === undefined) return damping;
    const next = nextDamping(damping);
    if (next === undefined || r === hessian) {
      throw new NotPositiveDefiniteError(hessian.cols - failedColumn, damping, adviceFor(next));
    }
    damping = next;
  }
}

/** Returns the advice for the error message. @param next the damping of the next retry, or undefined after the last */
function adviceFor(next: number | undefined): string {
  return next === undefined
    ? "Larger dampings are not tried. Use more calibration tokens, or check that the statistics are Σ x·xᵀ."
    : "The factorisation was not retried, because it overwrote the statistics to save memory. " +
      `Send the statistics again with damping ${next}.`;
}

/** Returns the column of the first pivot that is not positive, or undefined if all pivots are positive. */
async function readFailedColumn(backend: Backend, status: DeviceBuffer): Promise<number | undefined> {
  const [value] = new Uint32Array((await backend.read(status, 0, 4)).buffer);
  return value === 0 ? undefined : value - 1;
}

/**
 * Allocates a matrix for the factor, so that the statistics stay as they are for retries. Returns undefined if they are
 * too large or the device lacks the memory. Then the factor replaces them, and the first attempt can still succeed.
 */
function allocateFactor(backend: Backend, hessian: TiledMatrix): TiledMatrix | undefined {
  if (hessian.byteLength > LARGEST_RETRIED) return undefined;
  try {
    return allocateLike(backend, hessian, "factor of the statistics");
  } catch (error) {
    if (error instanceof OutOfDeviceMemoryError) return undefined;
    throw error;
  }
}

export interface PreparedDiagonal {
  /** (n) f32: the diagonal of H, with 1 at dead inputs. */
  readonly values: Float32Array<ArrayBuffer>;
  /** (n) u32: 1 at dead inputs and 0 elsewhere. Undefined if no input is dead. */
  readonly dead: Uint32Array<ArrayBuffer> | undefined;
  /** The mean of `values`, computed in float64. */
  readonly mean: number;
}

/**
 * Replaces the zeros of dead inputs in a copy of `diagonal`, (n) f32, by ones.
 * @throws {InvalidStatisticsError} naming the first entry that is negative or not finite
 */
export function prepareDiagonal(diagonal: Float32Array<ArrayBuffer>): PreparedDiagonal {
  const values = diagonal.slice(), flags = new Uint32Array(diagonal.length);
  let sum = 0, anyDead = false;
  diagonal.forEach((value, index) => {
    if (!(value >= 0 && value < Infinity)) throw new InvalidStatisticsError(index, value);
    if (value === 0) {
      anyDead = true;
      flags[index] = 1;
      values[index] = 1;
    }
    sum += values[index];
  });
  return { values, dead: anyDead ? flags : undefined, mean: sum / diagonal.length };
}

/**
 * Returns a copy of the diagonal with `added` added to every entry, rounded to f32.
 * @throws {InvalidStatisticsError} naming the first entry that is then too large for f32
 */
export function addDamping(values: Float32Array<ArrayBuffer>, added: number): Float32Array<ArrayBuffer> {
  const damped = values.map((value) => value + added);
  const overflow = damped.findIndex((value) => !Number.isFinite(value));
  if (overflow >= 0) {
    const message =
      `statistics: diagonal entry ${overflow} is ${values[overflow]}, which is too large for f32 after the ` +
      `damping of ${added} is added`;
    throw new InvalidStatisticsError(overflow, damped[overflow], message);
  }
  return damped;
}

/** The smallest damping of a retry, from the code that the authors of SparseGPT published. */
const SMALLEST_RETRY = 0.01;
/** The largest damping of a retry. With more, the added multiple of the identity would outweigh the statistics. */
const LARGEST_RETRY = 1;

/**
 * Returns the damping to try after `failed`, or undefined after the largest. It grows by a factor of 10, from at least
 * 0.01, because smaller dampings rarely make an f32 matrix positive definite and each attempt costs a factorisation.
 */
export function nextDamping(failed: number): number | undefined {
  if (failed >= LARGEST_RETRY) return undefined;
  return Math.min(LARGEST_RETRY, Math.max(SMALLEST_RETRY, 10 * failed));
}

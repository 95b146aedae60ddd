/**
 * From calibration statistics to the factor every solve uses (DESIGN §3.1–3): dead inputs, damping, H + λ·mean(diag H)·I = R·Rᵀ, and
 * the retries when that is not positive definite. One factor serves all layers that share an input.
 */

import { type Backend, type DeviceBuffer, OutOfRoomError } from "../backend/backend.ts";
import { TiledMatrix } from "../backend/tiled_matrix.ts";
import { checkBlocking } from "./blocking.ts";
import { damped, type LiveDiagonal, liveDiagonal, nextDamping } from "./damping.ts";
import { readDiagonal, writeDiagonal } from "./diagonal.ts";
import { NotPositiveDefiniteError } from "./errors.ts";
import { Owned } from "./owned.ts";
import { type ReverseCholeskyOutputs, reverseCholeskyTiled } from "./reverse_cholesky.ts";

/** A factored H. Nothing in it is written after. */
export interface Factor {
  /** R, (n, n) f32 upper storage. Strictly below the diagonal blocks its diagonal tiles hold anything. */
  readonly r: TiledMatrix;
  /** (n, blocksize) f32: U_kk = R_kk⁻¹ of block k from row k·blocksize on, zeros below its diagonal. */
  readonly u: DeviceBuffer;
  /** (n) f32: R[j,j]. */
  readonly diagonal: DeviceBuffer;
  /** (n) u32: 1 at inputs with diag H = 0; undefined when there is none. */
  readonly dead: DeviceBuffer | undefined;
  readonly blocksize: number;
  /** λ used, a fraction of the mean diagonal. */
  readonly damping: number;
  /** λ·mean(diag H): what was added to the diagonal. */
  readonly dampingAdded: number;
  /** Bytes on the device. */
  readonly byteLength: number;
  destroy(): void;
}

/** How to factor. */
export interface FactorOptions {
  /** λ ≥ 0, tried first. */
  readonly damping: number;
  /** Columns a block; the tile edge of H is a multiple of it. */
  readonly blocksize: number;
}

/**
 * Statistics of at most this size are kept as they came until the first attempt succeeded. Past it (order over
 * 16384 in 4096² tiles) the copy could be what a device has no room for, and a failure is final.
 */
const LARGEST_RETRY_COPY = 2 ** 30;

/**
 * Factors `hessian`, (n, n) f32 upper storage, in place: it belongs to the factor from here on, and is freed when this throws.
 * A pivot that is not positive is answered by more damping, up to 1 (`nextDamping`).
 * @throws {InvalidStatisticsError} on a negative or non-finite diagonal entry
 * @throws {NotPositiveDefiniteError} when every damping failed
 * @throws {RangeError} when blocks would straddle tiles, or the device has no room
 */
export async function factor(
  backend: Backend,
  hessian: TiledMatrix,
  options: FactorOptions,
): Promise<Factor> {
  const { blocksize } = options;
  const order = hessian.cols;
  const owned = new Owned();
  owned.add(hessian);
  const allocate = (label: string, elements: number) => owned.add(backend.createBuffer(label, 4 * elements));
  try {
    checkBlocking(`statistics of order ${order}`, hessian.edge, blocksize);
    const live = liveDiagonal(await readDiagonal(backend, hessian));
    const dead = live.dead && allocate("dead inputs", order);
    if (live.dead && dead) backend.write(dead, 0, new Uint8Array(live.dead.buffer));
    const u = allocate("inverse diagonal blocks", order * blocksize);
    const diagonal = allocate("diagonal of R", order);
    const status = allocate("pivot status", 1);
    const damping = await factorDamped(backend, hessian, live, { u, diagonal, status }, options);
    status.destroy();
    return {
      r: hessian,
      u,
      diagonal,
      dead,
      blocksize,
      damping,
      dampingAdded: damping * live.mean,
      byteLength: hessian.byteLength + u.byteLength + diagonal.byteLength + (dead?.byteLength ?? 0),
      destroy: () => owned.destroy(),
    };
  } catch (error) {
    owned.destroy();
    throw error;
  }
}

/** Factors H + λ·mean(diag H)·I with the first λ that will do, from `options.damping` up, and says which. */
async function factorDamped(
  backend: Backend,
  hessian: TiledMatrix,
  { values, mean }: LiveDiagonal,
  outputs: ReverseCholeskyOutputs,
  options: FactorOptions,
): Promise<number> {
  let { damping } = options;
  const original = nextDamping(damping) === undefined ? undefined : keepCopy(backend, hessian);
  try {
    while (true) {
      writeDiagonal(backend, hessian, damped(values, damping * mean));
      backend.clear(outputs.status);
      reverseCholeskyTiled(backend, hessian, outputs, options.blocksize);
      const failedColumn = await readStatus(backend, outputs.status) - 1;
      if (failedColumn < 0) return damping;
      const next = nextDamping(damping);
      if (next === undefined || !original) {
        throw new NotPositiveDefiniteError(hessian.cols - failedColumn, damping, advice(next));
      }
      copyMatrix(backend, original, hessian);
      damping = next;
    }
  } finally {
    original?.destroy();
  }
}

function advice(next: number | undefined): string {
  return next === undefined
    ? "no larger one is tried: use more calibration tokens, or check that the statistics are Σ x·xᵀ"
    : `not retried, since no copy of statistics this large is kept: send them again with damping ${next}`;
}

async function readStatus(backend: Backend, status: DeviceBuffer): Promise<number> {
  return new Uint32Array((await backend.read(status, 0, 4)).buffer)[0];
}

/** A copy of `matrix` to retry from; undefined where it would take too much. */
function keepCopy(backend: Backend, matrix: TiledMatrix): TiledMatrix | undefined {
  if (matrix.byteLength > LARGEST_RETRY_COPY) return undefined;
  const { rows, cols, edge, storage } = matrix;
  let copy: TiledMatrix;
  try {
    copy = new TiledMatrix(backend, { label: "statistics as they came", rows, cols, edge, storage });
  } catch (error) {
    // A device too full for the copy can still factor once.
    if (error instanceof OutOfRoomError) return undefined;
    throw error;
  }
  copyMatrix(backend, matrix, copy);
  return copy;
}

function copyMatrix(backend: Backend, source: TiledMatrix, target: TiledMatrix): void {
  const targets = target.tiles();
  for (const { buffer } of source.tiles()) {
    backend.copy(buffer, 0, targets.next().value!.buffer, 0, buffer.byteLength);
  }
}

/**
 * Accumulates calibration statistics on the device. The statistics of a linear layer are the matrix H = Σ x xᵀ, summed
 * in f32 over the layer's inputs x for all tokens of the calibration text. Up to a factor, H is the Hessian of the
 * layer's squared output error. H is not divided by the number of tokens, so that partial sums can be added. The mask
 * and the weights that a solver computes do not depend on the scale of H.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf, freeArray, READ_BYTES } from "../../device/host_memory.ts";
import { type Tile, TiledMatrix } from "../../device/tiled_matrix.ts";
import { rmsNorm } from "../../device/kernels/forward/normalize.ts";
import { productTN } from "../../device/kernels/product.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { InputProbe } from "./input_probe.ts";
import { gemm } from "../linalg/gemm.ts";
import { submatrixOf, writeDiagonal } from "../linalg/tile_arithmetic.ts";
import { PartialSums } from "./partial_sums.ts";

/**
 * How much each token counts in H = Σ w·x·xᵀ. With `none`, w is 1, as published. With `unit`, w is n/‖x‖², where n is
 * the number of features: every token then adds the same trace. Otherwise a few tokens with massive activations (arXiv
 * 2402.17762), such as the first of a window, can outweigh all others.
 */
export type TokenWeights = "none" | "unit";

export interface AccumulatorOptions {
  /** @default "none" */
  readonly tokenWeights?: TokenWeights;
  /**
   * Whether the first addition overwrites the memory of H. This is faster, because the memory does not have to be
   * cleared and read. The sums differ only in the sign of zeros: a product that underflows to −0 stays −0 if it
   * overwrites the memory, but becomes +0 if it is added to 0.
   * @default false, which clears the memory first
   */
  readonly overwrite?: boolean;
  /** The number of random combinations of the inputs that are added up too, at most 32 (see `InputProbe`). @default 0 */
  readonly probes?: number;
}

/** The residual stream before a layer adds its outputs or after it, (rows, outFeatures) f32. */
export interface Residual {
  readonly stream: DeviceBuffer;
  /** The factor of the outputs. */
  readonly scale: number;
  /** The bias of the layer, (outFeatures) f32, if it has one. */
  readonly bias?: DeviceBuffer;
}

/** A sum from which the targets of layers with the same input follow. `TargetStatistics` owns the matrix. */
export interface TargetMoments {
  /** T of a layer that adds its outputs to a residual stream, (outFeatures, inFeatures), or Σ x_d·x_pᵀ, (inFeatures, inFeatures). */
  readonly matrix: TiledMatrix;
  /** Whether the matrix is T. */
  readonly isTarget: boolean;
}

/** Added to the mean square of an input before the division, so that an input of zeros stays 0. */
export const LEAST_SQUARE = 1e-30;

/** The upper triangle of H for the input of one layer, or of several layers with the same input, in device memory. */
export class HessianAccumulator {
  readonly tokenWeights: TokenWeights;
  readonly #upper: PartialSums;
  readonly #probe: InputProbe | undefined;
  /** Whether the memory of H is still undefined, because it was neither cleared nor added to. */
  #isUndefined = true;
  #tokens = 0;

  /**
   * Allocates H. H is 0 until something is added.
   * @param label the name of the device buffers in error messages
   * @param edge the edge length in elements of the square tiles in which H is stored. By default, {@link TiledMatrix}
   *   chooses it
   * @throws {RangeError} if the device does not have enough memory
   */
  constructor(
    /** The device of H. */
    readonly backend: Backend,
    label: string,
    /** The order of H, which is the number of features of the input. */
    readonly size: number,
    edge?: number,
    { overwrite = false, tokenWeights = "none", probes = 0 }: AccumulatorOptions = {},
  ) {
    this.tokenWeights = tokenWeights;
    const matrix = { label, rows: size, cols: size, edge, storage: "upper" } as const;
    this.#upper = new PartialSums(backend, () => new TiledMatrix(backend, matrix));
    this.#probe = probes > 0 ? new InputProbe(backend, label, probes, size) : undefined;
    if (!overwrite) this.#clearIfUndefined();
  }

  /** The number of rows of all X that were added. Each row belongs to a token. */
  get tokens(): number {
    return this.#tokens;
  }

  /**
   * Queues H += Σ w·x·xᵀ on the device, where x runs over the rows of X, which is f32 with shape (rows, size).
   * @param _residual only `TargetStatistics` uses it
   * @throws {OutOfDeviceMemoryError} if the weighted copy of X does not fit
   */
  add(x: DeviceBuffer, rows: number, _residual?: Residual): void {
    this.#tokens += rows;
    const weighted = this.weightedInputs(x, rows);
    this.#addProducts(weighted ?? x, rows);
    weighted?.destroy();
  }

  /** Does nothing, because only `TargetStatistics` depends on the dense model. */
  addDense(_x: DeviceBuffer): void {}

  /** Does nothing, because only `TargetStatistics` depends on the dense model. */
  addOutput(_residual: Residual): void {}

  /** Returns undefined, because only `TargetStatistics` has moments. */
  moments(): TargetMoments | undefined {
    return undefined;
  }

  /** Returns undefined, because only `TargetStatistics` has targets. */
  target(_weight: HostTensor): TiledMatrix | undefined {
    return undefined;
  }

  /** Queues the computation of √w·x. The caller must destroy the result. Returns undefined if all weights are 1. */
  protected weightedInputs(x: DeviceBuffer, rows: number): DeviceBuffer | undefined {
    if (this.tokenWeights === "none") return undefined;
    const weight = this.#ones();
    const y = this.backend.createBuffer("weighted inputs", 4 * rows * this.size);
    this.backend.dispatch(rmsNorm, { x, weight, y }, { rows, cols: this.size, eps: LEAST_SQUARE });
    weight.destroy();
    return y;
  }

  /**
   * Ends a part of H. The parts are added in order, so that several machines that compute one part each get the same bits
   * (see `PartialSums`).
   * @throws {OutOfDeviceMemoryError} if there is no memory for a second matrix
   */
  endPart(): void {
    this.#clearIfUndefined();
    this.#upper.endPart();
  }

  /** Adds up the parts, which frees the second matrix. `take` and `packedUpper` do it too. */
  addParts(): void {
    this.#upper.whole();
  }

  /** Queues H = 0. */
  clear(): void {
    this.#clearUpper();
  }

  #clearUpper(): void {
    this.#upper.whole();
    this.#upper.clear();
    this.#probe?.clear();
    this.#isUndefined = false;
  }

  /** Queues H = I. */
  setIdentity(): void {
    this.fillIdentity(this.#upper.whole());
    this.#probe?.setIdentity();
    this.#isUndefined = false;
  }

  /** Queues M = I for a matrix M of the order of H. */
  protected fillIdentity(matrix: TiledMatrix): void {
    for (const { buffer } of matrix.tiles()) this.backend.clear(buffer);
    writeDiagonal(this.backend, matrix, new Float32Array(this.size).fill(1));
  }

  #ones(): DeviceBuffer {
    return createBufferOf(this.backend, "ones", new Float32Array(this.size).fill(1));
  }

  /** Sets H to 0, unless it was cleared or added to before. */
  #clearIfUndefined(): void {
    if (this.#isUndefined) this.#clearUpper();
  }

  #addProducts(x: DeviceBuffer, rows: number): void {
    this.#probe?.add(x, rows);
    const from = (column: number) => ({ buffer: x, offset: column, ld: this.size });
    for (const tile of this.#upper.part.tiles()) {
      const { rows: m, cols: n, row0, col0 } = tile, beta = this.#isUndefined ? 0 : 1;
      const product = { m, n, k: rows, beta, upper: row0 === col0 };
      gemm(this.backend, productTN, from(row0), from(col0), submatrixOf(tile, row0, col0), product);
    }
    this.#isUndefined = false;
  }

  /**
   * Waits for the queued work and reads H back.
   * @returns the upper triangle of H, packed in row-major order: F32 with shape [size·(size+1)/2]
   */
  async packedUpper(): Promise<HostTensor> {
    this.#clearIfUndefined();
    const packed = new Float32Array((this.size * (this.size + 1)) / 2);
    for (const tile of this.#upper.whole().tiles()) {
      const rowBytes = tile.ld * 4;
      const step = Math.max(1, Math.floor(READ_BYTES[this.backend.kind] / rowBytes));
      for (let row = 0; row < tile.rows; row += step) {
        const rows = Math.min(step, tile.rows - row);
        const bytes = await this.backend.read(tile.buffer, row * rowBytes, rows * rowBytes);
        packRows(new Float32Array(bytes.buffer), tile, row, rows, this.size, packed);
        freeArray(bytes);
      }
    }
    return { dtype: "F32", shape: [packed.length], data: new Uint8Array(packed.buffer) };
  }

  /** Waits for the queued work and reads the probe of the inputs back (see `InputProbe.read`), if there is one. */
  async probe(): Promise<HostTensor | undefined> {
    return await this.#probe?.read();
  }

  /**
   * Returns H as an f32 matrix of shape (size, size) that stores only the tiles on and above the diagonal. The caller
   * now owns the matrix and must destroy it. In the tiles on the diagonal, the elements below the diagonal are
   * undefined.
   */
  take(): TiledMatrix {
    this.#clearIfUndefined();
    return this.#upper.take();
  }

  destroy(): void {
    this.#upper.destroy();
    this.#probe?.destroy();
  }
}

/**
 * Copies the elements of some rows of a tile that lie on or above the diagonal to the packed triangle. Row i, column j
 * of H is at index i·size − i·(i+1)/2 + j of the triangle.
 * @param values the rows, which begin at row `row0` of the tile
 */
function packRows(
  values: Float32Array,
  tile: Tile,
  row0: number,
  rows: number,
  size: number,
  packed: Float32Array,
): void {
  for (let r = 0; r < rows; r++) {
    const i = tile.row0 + row0 + r;
    const first = Math.max(i, tile.col0); // the first column of the row that lies on or above the diagonal
    const row = values.subarray(r * tile.ld + first - tile.col0, r * tile.ld + tile.cols);
    packed.set(row, i * size - (i * (i + 1)) / 2 + first);
  }
}

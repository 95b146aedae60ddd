/**
 * Accumulates the statistics of a linear layer together with those of its target. The model that is pruned so far gives
 * the inputs x_p of the layer, and the dense model gives the inputs x_d for the same tokens. The target of a layer with
 * the weights W is
 *
 *     T = Σ y·x_pᵀ        y = W·x_d + (r_d − r_p)/s
 *
 * The second term exists if the outputs of the layer, times s, are added to a residual stream: r_d and r_p are this
 * stream in both models, so that the layer also makes up for the errors of the layers before it. Layers that share an
 * input share the moments Σ x_d·x_pᵀ, because T = W·Σ x_d·x_pᵀ + Σ (r_d − r_p)/s·x_pᵀ. If the tokens have weights, they
 * have the same weights in H and in T.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { Owned } from "../../device/owned.ts";
import { TiledMatrix } from "../../device/tiled_matrix.ts";
import { divideByRms } from "../../device/kernels/forward/normalize.ts";
import { addRows } from "../../device/kernels/forward/rows.ts";
import { gemmNN, MAX_SOFTWARE_K } from "../../device/kernels/gemm.ts";
import { productTN } from "../../device/kernels/product.ts";
import { BYTES_PER_ELEMENT, bytesToFloats, type FloatDtype } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { HessianAccumulator, LEAST_SQUARE, type Residual, type TokenWeights } from "./hessian.ts";

/** The layer whose statistics are added up, or the first of several with one input. */
interface ObservedLayer {
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** H = Σ w·x_p·x_pᵀ and the moments for targets, in device memory. The weight w of a token follows from its x_p. */
export class TargetStatistics extends HessianAccumulator {
  readonly #layer: ObservedLayer;
  /** Σ x_d·x_pᵀ. */
  readonly #cross: TiledMatrix;
  /** Σ (r_d − r_p)/s·x_pᵀ. Undefined until a residual stream was observed. */
  #residual?: Owned<TiledMatrix>;
  /** Copies of x_p and r_p, from `add` to `addDense`. */
  #input?: DeviceBuffer;
  #stream?: DeviceBuffer;

  /**
   * Allocates the sums, which are 0.
   * @param edge the edge of the tiles in elements. By default, {@link TiledMatrix} chooses it
   * @param tokenWeights the kind of the weights w
   * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
   */
  constructor(backend: Backend, layer: ObservedLayer, readonly edge?: number, tokenWeights?: TokenWeights) {
    const { name, inFeatures } = layer;
    super(backend, `hessian ${name}`, inFeatures, edge, { tokenWeights });
    this.#layer = layer;
    try {
      this.#cross = this.#zeros(`cross moments ${name}`, inFeatures);
    } catch (error) {
      super.destroy();
      throw error;
    }
  }

  #zeros(label: string, rows: number): TiledMatrix {
    const matrix = new TiledMatrix(this.backend, { label, rows, cols: this.size, edge: this.edge });
    for (const { buffer } of matrix.tiles()) this.backend.clear(buffer);
    return matrix;
  }

  /** Queues H += Σ w·x_p·x_pᵀ for x_p, (rows, inFeatures) f32, and copies x_p and r_p for the call of `addDense`. */
  override add(x: DeviceBuffer, rows: number, residual?: Residual): void {
    super.add(x, rows);
    this.#freeCopies();
    this.#input = this.#copy("inputs of a target", x, rows * this.size);
    if (residual) {
      this.#stream = this.#copy("stream of a target", residual.stream, rows * this.#layer.outFeatures);
    }
  }

  #copy(label: string, source: DeviceBuffer, count: number): DeviceBuffer {
    const copy = this.backend.createBuffer(label, 4 * count);
    this.backend.copy(source, 0, copy, 0, 4 * count);
    return copy;
  }

  /** Queues adding the moments of x_d, (rows, inFeatures) f32, and r_d. `add` was called for the same tokens. */
  override addDense(x: DeviceBuffer, rows: number, residual?: Residual): void {
    const input = this.#input;
    if (!input) {
      throw new TypeError(`target of ${this.#layer.name}: has no inputs of the pruned model`);
    }
    const weighted = this.weightedInputs(input, rows);
    // Only one factor of the products has weights, so they are w instead of √w.
    if (weighted) this.#weigh(input, rows, weighted);
    this.#addProduct(x, weighted ?? input, rows, this.#cross, 1);
    if (residual && this.#stream) this.#addResidual(this.#stream, residual, weighted ?? input, rows);
    weighted?.destroy();
    this.#freeCopies();
  }

  /** @param stream r_p, which is overwritten */
  #addResidual(
    stream: DeviceBuffer,
    { stream: dense, scale }: Residual,
    weighted: DeviceBuffer,
    rows: number,
  ): void {
    const { name, outFeatures } = this.#layer, backend = this.backend;
    this.#residual ??= new Owned(this.#zeros(`residual moments ${name}`, outFeatures));
    const none = backend.createBuffer("unused", 4);
    const params = { rows, cols: outFeatures, offset: 0, has_index: 0, scale: -1 };
    backend.dispatch(addRows, { x: dense, index: none, factors: none, y: stream }, params);
    none.destroy();
    // The stream is now r_p − r_d.
    this.#addProduct(stream, weighted, rows, this.#residual.value, -1 / scale);
  }

  /** Queues Y ← √w·Y for Y, (rows, inFeatures). @param x the inputs from which w follows */
  #weigh(x: DeviceBuffer, rows: number, y: DeviceBuffer): void {
    const params = { rows, cols: this.size, y_cols: this.size, eps: LEAST_SQUARE };
    this.backend.dispatch(divideByRms, { x, y }, params);
  }

  /** Queues C += alpha·Aᵀ·B for A, (rows, C's rows), and B, (rows, C's columns). */
  #addProduct(a: DeviceBuffer, b: DeviceBuffer, rows: number, c: TiledMatrix, alpha: number): void {
    const step = this.backend.adapter.software ? MAX_SOFTWARE_K : rows;
    for (let row = 0; row < rows; row += step) {
      for (const tile of c.tiles()) {
        this.backend.dispatch(productTN, { a, b, c: tile.buffer }, {
          m: tile.rows,
          n: tile.cols,
          k: Math.min(step, rows - row),
          a_offset: row * c.rows + tile.row0,
          lda: c.rows,
          b_offset: row * c.cols + tile.col0,
          ldb: c.cols,
          c_offset: 0,
          ldc: tile.ld,
          alpha,
          beta: 1,
          upper: 0,
        });
      }
    }
  }

  #freeCopies(): void {
    this.#input?.destroy();
    this.#stream?.destroy();
    this.#input = this.#stream = undefined;
  }

  /** Queues H = I and T = W, so that nothing moves the weights of the layers. */
  override setIdentity(): void {
    super.setIdentity();
    this.fillIdentity(this.#cross);
  }

  /**
   * Queues the computation of T for a layer. May be called once for a layer with a residual stream.
   * @param weight W, (outFeatures, inFeatures), of a dtype of floats
   * @returns T, (outFeatures, inFeatures) f32. The caller must destroy it
   * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
   */
  override target({ dtype, shape: [rows, cols], data }: HostTensor): TiledMatrix {
    const backend = this.backend;
    const label = `target ${this.#layer.name}`, beta = this.#residual ? 1 : 0;
    const target = this.#residual?.take() ?? new TiledMatrix(backend, { label, rows, cols, edge: this.edge });
    try {
      const floats = dtype as FloatDtype, rowBytes = cols * BYTES_PER_ELEMENT[floats];
      for (let i = 0; i < target.tileRows; i++) {
        const { row0, rows: count } = target.tile(i, 0);
        const values = bytesToFloats(data.subarray(row0 * rowBytes, (row0 + count) * rowBytes), floats);
        const strip = backend.createBuffer("weights of a target", values.byteLength);
        backend.write(strip, 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
        for (let j = 0; j < target.tileCols; j++) this.#multiply(strip, target, i, j, beta);
        strip.destroy();
      }
      return target;
    } catch (error) {
      target.destroy();
      throw error;
    }
  }

  /** Queues T(i, j) ← W(i, :)·C(:, j) + beta·T(i, j). @param strip W(i, :), all columns of the rows of tile row i */
  #multiply(strip: DeviceBuffer, target: TiledMatrix, i: number, j: number, beta: number): void {
    const { buffer: c, rows: m, cols: n, ld: ldc } = target.tile(i, j);
    for (let k = 0; k < this.#cross.tileRows; k++) {
      const { buffer: b, rows: depth, row0, ld: ldb } = this.#cross.tile(k, j);
      const offsets = { a_offset: row0, lda: this.size, b_offset: 0, ldb, c_offset: 0, ldc };
      const sizes = { m, n, k: depth, alpha: 1, beta: k > 0 ? 1 : beta, upper: 0 };
      this.backend.dispatch(gemmNN, { a: strip, b, c }, { ...sizes, ...offsets });
    }
  }

  override destroy(): void {
    super.destroy();
    this.#freeCopies();
    this.#cross.destroy();
    this.#residual?.destroy();
  }
}

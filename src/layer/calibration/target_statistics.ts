/**
 * Accumulates the statistics of a linear layer together with those of its target. The model that is pruned so far gives the inputs x_p of
 * the layer, and the dense model gives the inputs x_d for the same tokens. The target of a layer with the weights W is
 *
 *     T = Σ y·x_pᵀ        y = W·x_d + (r_d − r_p)/s
 *
 * The second term exists if the outputs of the layer, times s, are added to a residual stream: r_d and r_p are this stream in both models,
 * so that the layer also makes up for the errors of the layers before it. Layers that share an input share the moments Σ x_d·x_pᵀ, because
 * T = W·Σ x_d·x_pᵀ + Σ (r_d − r_p)/s·x_pᵀ. If the tokens have weights, they have the same weights in H and in T.
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
import { HessianAccumulator, LEAST_SQUARE, type TokenWeights } from "./hessian.ts";

/** The layer whose statistics are added up, or the first of several with one input. */
interface ObservedLayer {
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** The residual stream before the layer adds its outputs, (rows, outFeatures) f32, and the factor of the outputs. */
interface Residual {
  readonly stream: DeviceBuffer;
  readonly scale: number;
}

/** H = Σ w·x_p·x_pᵀ, and the moments of which targets are made, in device memory. x_p alone decides the weights w of its token. */
export class TargetStatistics extends HessianAccumulator {
  readonly #backend: Backend;
  readonly #layer: ObservedLayer;
  readonly #maxRows: number;
  /** Σ x_d·x_pᵀ. */
  readonly #cross: TiledMatrix;
  /** Σ (r_d − r_p)/s·x_pᵀ. Undefined until a residual stream was observed. */
  #residual?: Owned<TiledMatrix>;
  /** x_d and r_d of the current batch. */
  #denseInput?: DeviceBuffer;
  #denseStream?: DeviceBuffer;

  /**
   * Allocates the sums, which are 0.
   * @param maxRows the largest number of rows of a batch
   * @param edge the edge of the tiles in elements. By default, {@link TiledMatrix} chooses it
   * @param tokenWeights the kind of the weights w
   * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
   */
  constructor(
    backend: Backend,
    layer: ObservedLayer,
    maxRows: number,
    readonly edge?: number,
    tokenWeights?: TokenWeights,
  ) {
    const { name, inFeatures } = layer;
    super(backend, `hessian ${name}`, inFeatures, edge, { tokenWeights });
    this.#backend = backend;
    this.#layer = layer;
    this.#maxRows = maxRows;
    try {
      this.#cross = this.#zeros(`cross moments ${name}`, inFeatures);
    } catch (error) {
      super.destroy();
      throw error;
    }
  }

  #zeros(label: string, rows: number): TiledMatrix {
    const matrix = new TiledMatrix(this.#backend, { label, rows, cols: this.size, edge: this.edge });
    for (const { buffer } of matrix.tiles()) this.#backend.clear(buffer);
    return matrix;
  }

  /** Queues copies of x_d, (rows, inFeatures) f32, and of r_d, which `addMoments` uses for the same tokens. */
  keepDense(x: DeviceBuffer, rows: number, residual?: Residual): void {
    const { inFeatures, outFeatures } = this.#layer, backend = this.#backend;
    const buffer = (label: string, columns: number) =>
      backend.createBuffer(label, 4 * this.#maxRows * columns);
    this.#denseInput ??= buffer("dense inputs", inFeatures);
    backend.copy(x, 0, this.#denseInput, 0, 4 * rows * inFeatures);
    if (!residual) return;
    this.#denseStream ??= buffer("dense stream", outFeatures);
    backend.copy(residual.stream, 0, this.#denseStream, 0, 4 * rows * outFeatures);
  }

  /**
   * Queues the addition of the moments of x_p, (rows, inFeatures) f32, and of r_p. `keepDense` was called before for the same tokens.
   * `add` adds x_p to H.
   */
  addMoments(x: DeviceBuffer, rows: number, residual?: Residual): void {
    if (!this.#denseInput) throw new TypeError(`target of ${this.#layer.name}: has no dense inputs`);
    const weighted = this.weightedInputs(x, rows);
    if (weighted) this.#weigh(x, rows, this.#denseInput, this.size);
    this.#addProduct(this.#denseInput, weighted ?? x, rows, this.#cross, 1);
    if (residual && this.#denseStream) this.#addResidual(x, weighted, rows, residual, this.#denseStream);
    weighted?.destroy();
  }

  /** @param stream r_d, which is overwritten */
  #addResidual(
    x: DeviceBuffer,
    weighted: DeviceBuffer | undefined,
    rows: number,
    residual: Residual,
    stream: DeviceBuffer,
  ): void {
    const { name, outFeatures } = this.#layer, backend = this.#backend;
    this.#residual ??= new Owned(this.#zeros(`residual moments ${name}`, outFeatures));
    const none = backend.createBuffer("unused", 4);
    const params = { rows, cols: outFeatures, offset: 0, has_index: 0, scale: -1 };
    backend.dispatch(
      addRows,
      { x: residual.stream, index: none, factors: none, y: stream },
      params,
    );
    none.destroy();
    if (weighted) this.#weigh(x, rows, stream, outFeatures);
    this.#addProduct(stream, weighted ?? x, rows, this.#residual.value, 1 / residual.scale);
  }

  /** Queues Y ← √w·Y for Y, (rows, columns). */
  #weigh(x: DeviceBuffer, rows: number, y: DeviceBuffer, columns: number): void {
    const params = { rows, cols: this.size, y_cols: columns, eps: LEAST_SQUARE };
    this.#backend.dispatch(divideByRms, { x, y }, params);
  }

  /** Queues C += alpha·Aᵀ·B for A, (rows, C's rows), and B, (rows, C's columns). */
  #addProduct(a: DeviceBuffer, b: DeviceBuffer, rows: number, c: TiledMatrix, alpha: number): void {
    const step = this.#backend.adapter.software ? MAX_SOFTWARE_K : rows;
    for (let row = 0; row < rows; row += step) {
      for (const tile of c.tiles()) {
        this.#backend.dispatch(productTN, { a, b, c: tile.buffer }, {
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

  /** Frees the copies that `keepDense` made. Idempotent. */
  freeDense(): void {
    this.#denseInput?.destroy();
    this.#denseStream?.destroy();
    this.#denseInput = this.#denseStream = undefined;
  }

  /**
   * Queues the computation of T for a layer. May be called once for a layer with a residual stream.
   * @param weight W, (outFeatures, inFeatures), of a dtype of floats
   * @returns T, (outFeatures, inFeatures) f32. The caller must destroy it
   * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
   */
  target({ dtype, shape: [rows, cols], data }: HostTensor): TiledMatrix {
    const backend = this.#backend;
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
      this.#backend.dispatch(gemmNN, { a: strip, b, c }, { ...sizes, ...offsets });
    }
  }

  override destroy(): void {
    super.destroy();
    this.freeDense();
    this.#cross.destroy();
    this.#residual?.destroy();
  }
}

/**
 * Accumulates the statistics of a linear layer together with those of its target. The model that is pruned so far gives
 * the inputs x_p of the layer, and the dense model gives the inputs x_d for the same tokens. The target of a layer with
 * the weights W is
 *
 *     T = Σ y·x_pᵀ        y = W·x_d + (r_d − r_p)/s
 *
 * The second term exists if the outputs of the layer, times s, are added to a residual stream: r_d and r_p are this
 * stream in both models, so that the layer also makes up for the errors of the layers before it. In the dense model the
 * stream is r = r_d + s·(W·x_d + b) afterwards, with the bias b. So y is (r − r_p)/s − b, and takes no product. Layers
 * without the second term may share an input. They share the moments Σ x_d·x_pᵀ, because T = W·Σ x_d·x_pᵀ. If the
 * tokens have weights, they have the same weights in H and in T.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { ResourceSet } from "../../device/owned.ts";
import { TiledMatrix } from "../../device/tiled_matrix.ts";
import { ACTIVATION_CODE, biasActivate } from "../../device/kernels/forward/activate.ts";
import { divideByRms } from "../../device/kernels/forward/normalize.ts";
import { gemmNN } from "../../device/kernels/gemm.ts";
import { productTN } from "../../device/kernels/product.ts";
import { BYTES_PER_ELEMENT, bytesToFloats, type FloatDtype } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { gemm } from "../linalg/gemm.ts";
import { submatrixOf } from "../linalg/tile_arithmetic.ts";
import {
  type AccumulatorOptions,
  HessianAccumulator,
  LEAST_SQUARE,
  type Residual,
  type TargetMoments,
} from "./hessian.ts";
import { addBuffer, PartialSums } from "./partial_sums.ts";

/** The layer whose statistics are added up, or the first of several with one input. */
interface ObservedLayer {
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** The tokens that `add` has received, until the dense model has run on them. */
interface PrunedTokens {
  readonly rows: number;
  /** w·x_p, or x_p if the tokens have no weights. Only this factor of a product has weights, so they are w instead of √w. */
  readonly inputs: DeviceBuffer;
  /** r_p/s, if the outputs are added to a residual stream. */
  readonly stream?: DeviceBuffer;
}

/** H = Σ w·x_p·x_pᵀ and the moments for targets, in device memory. The weight w of a token follows from its x_p. */
export class TargetStatistics extends HessianAccumulator {
  /** Σ x_d·x_pᵀ. Allocated when the first layer without a residual stream is observed. */
  #cross?: PartialSums;
  /** T of a layer with a residual stream. */
  #outputs?: PartialSums;
  #pruned?: PrunedTokens;

  /**
   * Allocates H, which is 0.
   * @param edge the edge of the tiles in elements. By default, {@link TiledMatrix} chooses it
   * @param options `tokenWeights` is the kind of the weights w
   * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
   */
  constructor(
    backend: Backend,
    private readonly layer: ObservedLayer,
    readonly edge?: number,
    options?: AccumulatorOptions,
  ) {
    super(backend, `hessian ${layer.name}`, layer.inFeatures, edge, options);
  }

  #zeros(name: string, rows: number): PartialSums {
    const matrix = { label: `${name} ${this.layer.name}`, rows, cols: this.size, edge: this.edge };
    const sums = new PartialSums(this.backend, () => new TiledMatrix(this.backend, matrix));
    sums.clear();
    return sums;
  }

  #crossMoments(): PartialSums {
    return this.#cross ??= this.#zeros("cross moments", this.size);
  }

  override endPart(): void {
    super.endPart();
    this.#cross?.endPart();
    this.#outputs?.endPart();
  }

  override addParts(): void {
    super.addParts();
    this.#cross?.whole();
    this.#outputs?.whole();
  }

  /**
   * Queues H += Σ w·x_p·x_pᵀ for x_p, (rows, inFeatures) f32, and copies x_p and r_p for the call of `addDense` or
   * `addOutput`.
   */
  override add(x: DeviceBuffer, rows: number, residual?: Residual): void {
    super.add(x, rows);
    this.#freePruned();
    this.#pruned = { rows, inputs: this.#productInputs(x, rows) };
    if (!residual) return;
    const stream = this.backend.createBuffer("stream of a target", 4 * rows * this.layer.outFeatures);
    this.#pruned = { ...this.#pruned, stream };
    this.backend.clear(stream);
    addBuffer(this.backend, residual.stream, 1 / residual.scale, stream, rows, this.layer.outFeatures);
  }

  /** Returns w·x_p, or x_p if the tokens have no weights. */
  #productInputs(x: DeviceBuffer, rows: number): DeviceBuffer {
    const backend = this.backend, weighted = this.weightedInputs(x, rows);
    if (weighted) {
      const params = { rows, cols: this.size, y_cols: this.size, eps: LEAST_SQUARE };
      backend.dispatch(divideByRms, { x, y: weighted }, params);
      return weighted;
    }
    const copy = backend.createBuffer("inputs of a target", 4 * rows * this.size);
    backend.copy(x, 0, copy, 0, copy.byteLength);
    return copy;
  }

  /** Queues the moments of x_d, (rows, inFeatures) f32, unless `addOutput` follows. `add` was called for the same tokens. */
  override addDense(x: DeviceBuffer): void {
    const { rows, inputs, stream } = this.#prunedTokens();
    if (stream) return;
    this.#addProduct(x, inputs, rows, this.#crossMoments().part, 1);
    this.#freePruned();
  }

  /**
   * Queues T += Σ w·y·x_pᵀ. `add` was called for the same tokens.
   * @param residual the stream r after the layer
   */
  override addOutput({ stream: dense, scale, bias }: Residual): void {
    const { rows, inputs, stream } = this.#prunedTokens();
    if (!stream) {
      throw new TypeError(`target of ${this.layer.name}: has no residual stream of the pruned model`);
    }
    const { outFeatures: cols } = this.layer, backend = this.backend;
    addBuffer(backend, dense, -1 / scale, stream, rows, cols);
    if (bias) {
      const params = { rows, cols, has_bias: 1, activation: ACTIVATION_CODE.none };
      backend.dispatch(biasActivate, { bias, x: stream }, params);
    }
    // The buffer is now −y.
    this.#outputs ??= this.#zeros("target", cols);
    this.#addProduct(stream, inputs, rows, this.#outputs.part, -1);
    this.#freePruned();
  }

  #prunedTokens(): PrunedTokens {
    if (this.#pruned) return this.#pruned;
    throw new TypeError(`target of ${this.layer.name}: has no inputs of the pruned model`);
  }

  /** Queues C += alpha·Aᵀ·B for A, (rows, C's rows), and B, (rows, C's columns). */
  #addProduct(a: DeviceBuffer, b: DeviceBuffer, rows: number, c: TiledMatrix, alpha: number): void {
    for (const tile of c.tiles()) {
      const { rows: m, cols: n, row0, col0 } = tile;
      const left = { buffer: a, offset: row0, ld: c.rows }, right = { buffer: b, offset: col0, ld: c.cols };
      const product = { m, n, k: rows, alpha, beta: 1 };
      gemm(this.backend, productTN, left, right, submatrixOf(tile, row0, col0), product);
    }
  }

  #freePruned(): void {
    this.#pruned?.inputs.destroy();
    this.#pruned?.stream?.destroy();
    this.#pruned = undefined;
  }

  override clear(): void {
    super.clear();
    for (const sums of [this.#cross, this.#outputs]) {
      sums?.whole();
      sums?.clear();
    }
  }

  override moments(): TargetMoments {
    const isTarget = this.#outputs !== undefined;
    return { matrix: (this.#outputs ?? this.#crossMoments()).whole(), isTarget };
  }

  /** Queues H = I and T = W, so that nothing moves the weights of the layers. */
  override setIdentity(): void {
    super.setIdentity();
    this.fillIdentity(this.#crossMoments().whole());
  }

  /**
   * Queues the computation of T for a layer. May be called once for a layer with a residual stream.
   * @param weight W, (outFeatures, inFeatures), of a dtype of floats
   * @returns T, (outFeatures, inFeatures) f32. The caller must destroy it
   * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
   */
  override target(weight: HostTensor): TiledMatrix {
    if (this.#outputs) return this.#outputs.take();
    return targetOf(this.backend, this.#crossMoments().whole(), weight);
  }

  override destroy(): void {
    super.destroy();
    this.#freePruned();
    this.#cross?.destroy();
    this.#outputs?.destroy();
  }
}

/**
 * Queues the computation of T = W·C.
 * @param cross C = Σ x_d·x_pᵀ, (inFeatures, inFeatures)
 * @param weight W, (outFeatures, inFeatures), of a dtype of floats
 * @returns T, (outFeatures, inFeatures) f32, in tiles of the size of those of C. The caller must destroy it
 * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
 */
export function targetOf(
  backend: Backend,
  cross: TiledMatrix,
  { dtype, shape: [rows, cols], data }: HostTensor,
): TiledMatrix {
  const label = `target by ${cross.label}`;
  using unfinished = new ResourceSet();
  const target = unfinished.add(new TiledMatrix(backend, { label, rows, cols, edge: cross.edge }));
  const floats = dtype as FloatDtype, rowBytes = cols * BYTES_PER_ELEMENT[floats];
  for (let i = 0; i < target.tileRows; i++) {
    const { row0, rows: m } = target.tile(i, 0);
    const values = bytesToFloats(data.subarray(row0 * rowBytes, (row0 + m) * rowBytes), floats);
    const strip = createBufferOf(backend, "weights of a target", values);
    for (let j = 0; j < target.tileCols; j++) {
      const tile = target.tile(i, j), c = submatrixOf(tile, row0, tile.col0);
      for (let k = 0; k < cross.tileRows; k++) {
        // T(i, j) ← W(i, :)·C(:, j), one tile of C after the other
        const part = cross.tile(k, j), a = { buffer: strip, offset: part.row0, ld: cols };
        const sizes = { m, n: tile.cols, k: part.rows, beta: k > 0 ? 1 : 0 };
        gemm(backend, gemmNN, a, submatrixOf(part, part.row0, part.col0), c, sizes);
      }
    }
    strip.destroy();
  }
  unfinished.move();
  return target;
}

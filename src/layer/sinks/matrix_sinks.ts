/**
 * Receives the matrices of a layer. `WeightSink` receives its weight or target. The others receive a Hessian, the matrix
 * H = Σ x·xᵀ of the calibration inputs x, in upper storage: only the tiles on and above the diagonal exist. A client can
 * send the Hessian in three forms. `HessianSink` receives the whole matrix [n, n], and checks that it is symmetric.
 * `PackedHessianSink` receives the upper triangle, packed row by row. `InputsSink` receives X, one row per token, and
 * computes H = XᵀX. It collects the rows of X in a buffer on the device, the panel P, and adds PᵀP to H whenever the panel is full.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { checkSymmetry } from "../../device/kernels/transfer/check.ts";
import { unpackUpper } from "../../device/kernels/transfer/unpack_upper.ts";
import { Owned, ResourceSet } from "../../device/owned.ts";
import { hasPackedRows, TiledMatrix } from "../../device/tiled_matrix.ts";
import type { FloatTensor } from "../body_tensors.ts";
import { HessianAccumulator, type TokenWeights } from "../calibration/hessian.ts";
import { notSymmetric } from "../errors.ts";
import { copySubmatrix, diagonalOf, submatrixOf } from "../linalg/tile_arithmetic.ts";
import type { Strip, StripRules } from "../../device/host_memory.ts";
import type { DeferredChecks, TensorSink, Uploader } from "./upload.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";

/** Receives a tensor of which the rows are strips of one matrix. */
abstract class MatrixSink implements TensorSink<TiledMatrix> {
  abstract readonly stripRules: StripRules;
  readonly checksPerStrip: number = 1;
  readonly #owned: Owned<TiledMatrix>;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(protected readonly backend: Backend, options: ConstructorParameters<typeof TiledMatrix>[1]) {
    this.#owned = new Owned(new TiledMatrix(backend, options));
  }

  protected get matrix(): TiledMatrix {
    return this.#owned.value;
  }

  abstract accept(strip: Strip, bytes: Uint8Array, uploader: Uploader, checks: DeferredChecks): void;

  take(): TiledMatrix {
    return this.#owned.take();
  }

  destroy(): void {
    this.#owned.destroy();
  }
}

/** Receives the weight or the target of a layer, (rows, cols) in F32, F16 or BF16. The result is an f32 matrix. */
export class WeightSink extends MatrixSink {
  readonly stripRules: StripRules;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(backend: Backend, private readonly tensor: FloatTensor, edge: number) {
    const { name: label, dtype, rows, cols } = tensor;
    super(backend, { label, rows, cols, edge });
    this.stripRules = { rows, rowBytes: cols * BYTES_PER_ELEMENT[dtype], boundary: edge };
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader): void {
    const { cols } = this.tensor, { row0, rows } = strip, matrix = this.matrix;
    const count = rows * cols;
    const locate = (index: number) => [row0 + Math.floor(index / cols), index % cols];
    const i = Math.floor(row0 / matrix.edge);
    if (hasPackedRows(matrix)) {
      const { buffer, row0: firstRow } = matrix.tile(i, 0);
      uploader.upload(this.tensor, bytes, count, locate, { buffer, offset: (row0 - firstRow) * cols });
      return;
    }
    const buffer = uploader.uploadToStaging(this.tensor, bytes, count, locate);
    for (let j = 0; j < matrix.tileCols; j++) {
      const tile = matrix.tile(i, j);
      const source = { buffer, offset: tile.col0, ld: cols };
      copySubmatrix(this.backend, source, submatrixOf(tile, row0, tile.col0), rows, tile.cols);
    }
  }
}

/**
 * The largest accepted difference |h_ij − h_ji|, relative to √(h_ii·h_jj). If a client computes the two triangles
 * separately in f32, the difference is about 1e-6. A matrix with a difference of more than 1e-3 is not Σ x·xᵀ.
 */
const SYMMETRY_TOLERANCE = 1e-3;

/** Receives all rows of an (order, order) F32 matrix. */
export class HessianSink extends MatrixSink {
  readonly stripRules: StripRules;
  override readonly checksPerStrip: number;
  readonly #diagonal: DeviceBuffer; // (order) f32: the diagonal of the rows that have been received

  /** @param name the name of the tensor in error messages @throws {OutOfDeviceMemoryError} */
  constructor(
    backend: Backend,
    private readonly order: number,
    edge: number,
    private readonly name = "hessian",
  ) {
    super(backend, upperMatrix(order, edge));
    this.stripRules = { rows: order, rowBytes: 4 * order, boundary: edge };
    this.checksPerStrip = 1 + this.matrix.tileRows;
    using unfinished = new ResourceSet();
    unfinished.add({ destroy: () => super.destroy() });
    this.#diagonal = backend.createBuffer("diagonal", 4 * order);
    unfinished.move();
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader, checks: DeferredChecks): void {
    const order = this.order, { row0, rows } = strip, matrix = this.matrix;
    const locate = (index: number): [number, number] => [row0 + Math.floor(index / order), index % order];
    const buffer = uploader.uploadToStaging({ name: this.name, dtype: "F32" }, bytes, rows * order, locate);
    const i = Math.floor(row0 / matrix.edge);
    for (let j = i; j < matrix.tileCols; j++) {
      const tile = matrix.tile(i, j);
      // The elements left of the diagonal need not be stored. The copy starts at most 3 columns left of it,
      // at a multiple of 16 bytes, because the rows of a tile are aligned to 16 bytes as well.
      const col = Math.max(tile.col0, Math.floor(row0 / 4) * 4);
      const source = { buffer, offset: col, ld: order };
      copySubmatrix(this.backend, source, submatrixOf(tile, row0, col), rows, tile.col0 + tile.cols - col);
    }
    const diagonal = { buffer: this.#diagonal, offset: row0, ld: 1 };
    copySubmatrix(this.backend, diagonalOf({ buffer, offset: row0, ld: order }), diagonal, rows, 1);
    for (let j = 0; j <= i; j++) this.#checkMirror(buffer, strip, j, i, checks, locate);
  }

  /** Queues the check that the strip's elements in tile (i, j) equal their mirror images in the stored tile (j, i). */
  #checkMirror(
    buffer: DeviceBuffer,
    { row0, rows }: Strip,
    j: number,
    i: number,
    checks: DeferredChecks,
    locate: (index: number) => [number, number],
  ): void {
    const upper = this.matrix.tile(j, i);
    this.backend.dispatch(checkSymmetry, {
      strip: buffer,
      upper: upper.buffer,
      diagonal: this.#diagonal,
      first: checks.buffer,
    }, {
      rows,
      cols: upper.rows,
      row0,
      col0: upper.row0,
      ldstrip: this.order,
      ldupper: upper.ld,
      tile_col0: upper.col0,
      slot: checks.add((index) => notSymmetric(this.name, locate(index))),
      tolerance: SYMMETRY_TOLERANCE,
    });
  }

  override destroy(): void {
    this.#diagonal.destroy();
    super.destroy();
  }
}

/** Receives the upper triangle of an (order, order) matrix, packed row by row: F32 [order·(order+1)/2]. */
export class PackedHessianSink extends MatrixSink {
  readonly stripRules: StripRules;

  /** @param name the name of the tensor in error messages @throws {OutOfDeviceMemoryError} */
  constructor(
    backend: Backend,
    private readonly order: number,
    edge: number,
    private readonly name = "hessian_upper",
  ) {
    super(backend, upperMatrix(order, edge));
    this.stripRules = { rows: order, rowBytes: (row) => 4 * (order - row), boundary: edge };
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader): void {
    const { row0, rows } = strip, matrix = this.matrix;
    const source = uploader.uploadToStaging(
      { name: this.name, dtype: "F32" },
      bytes,
      strip.byteLength / 4,
      (index) => [packedRowStart(this.order, row0) + index],
    );
    const i = Math.floor(row0 / matrix.edge);
    for (let j = i; j < matrix.tileCols; j++) {
      const tile = matrix.tile(i, j);
      this.backend.dispatch(unpackUpper, { source, target: tile.buffer }, {
        n: this.order,
        rows,
        cols: tile.cols,
        first_row: row0,
        first_col: tile.col0,
        target_offset: (row0 - tile.row0) * tile.ld,
        ld: tile.ld,
      });
    }
  }
}

/** Returns the index of the first element of row `row` in a packed upper triangle of order `order`. */
function packedRowStart(order: number, row: number): number {
  return row * order - (row * (row - 1)) / 2;
}

function upperMatrix(order: number, edge: number) {
  return { label: "hessian", rows: order, cols: order, edge, storage: "upper" } as const;
}

/**
 * The number of tokens in a panel. Each addition reads and writes all of H, so a panel needs many rows before the
 * arithmetic takes longer than the memory traffic. 1024 rows are enough, and more rows gain nothing.
 */
const PANEL_TOKENS = 1024;

/**
 * The smallest and the largest panel in bytes. If X has few columns, a panel gets more than 1024 rows, because queueing
 * thousands of small panels would occupy the calling thread. If X has more than 16384 columns, a panel gets fewer rows,
 * because the largest panel is 64 MiB, half of the smallest binding limit of any adapter.
 */
const MIN_PANEL_BYTES = 2 ** 20, MAX_PANEL_BYTES = 64 * 2 ** 20;

/** Receives X, (tokens, cols). The result is H, (cols, cols) f32, upper storage, weighted by `tokenWeights`. */
export class InputsSink implements TensorSink<TiledMatrix> {
  readonly stripRules: StripRules;
  readonly checksPerStrip = 1;
  readonly #panelTokens: number;
  readonly #panel: DeviceBuffer;
  readonly #hessian: HessianAccumulator;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(
    backend: Backend,
    private readonly tensor: FloatTensor,
    edge: number,
    tokenWeights?: TokenWeights,
  ) {
    const { rows: tokens, cols, dtype } = tensor;
    const rowsIn = (bytes: number) => Math.max(1, Math.floor(bytes / (4 * cols)));
    this.#panelTokens = Math.min(
      tokens,
      Math.max(PANEL_TOKENS, rowsIn(MIN_PANEL_BYTES)),
      rowsIn(MAX_PANEL_BYTES),
    );
    this.stripRules = {
      rows: tokens,
      rowBytes: cols * BYTES_PER_ELEMENT[dtype],
      boundary: this.#panelTokens,
    };
    using owned = new ResourceSet();
    this.#panel = owned.add(backend.createBuffer("panel of inputs", 4 * cols * this.#panelTokens));
    const options = { overwrite: true, tokenWeights };
    this.#hessian = new HessianAccumulator(backend, "hessian", cols, edge, options);
    owned.move();
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader): void {
    const { rows: tokens, cols } = this.tensor, { row0, rows } = strip;
    const panelRow = row0 % this.#panelTokens, end = row0 + rows;
    const locate = (index: number) => [row0 + Math.floor(index / cols), index % cols];
    uploader.upload(this.tensor, bytes, rows * cols, locate, {
      buffer: this.#panel,
      offset: panelRow * cols,
    });
    const isPanelComplete = end % this.#panelTokens === 0 || end === tokens;
    if (isPanelComplete) this.#hessian.add(this.#panel, panelRow + rows);
  }

  take(): TiledMatrix {
    return this.#hessian.take();
  }

  destroy(): void {
    this.#panel.destroy();
    this.#hessian.destroy();
  }
}

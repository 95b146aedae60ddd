/**
 * Receives the matrices of a layer. `WeightSink` receives its weight or target. The others receive a Hessian, the matrix
 * H = Σ x·xᵀ of the calibration inputs x, in upper storage: only the tiles on and above the diagonal exist. A client can
 * send the Hessian in two forms. `HessianSink` receives the whole matrix [n, n], and checks that it is symmetric.
 * `PackedHessianSink` receives the upper triangle, packed row by row.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { checkSymmetry } from "../../device/kernels/transfer/check.ts";
import { unpackUpper } from "../../device/kernels/transfer/unpack_upper.ts";
import { Owned, ResourceSet } from "../../device/owned.ts";
import { hasPackedRows, TiledMatrix } from "../../device/tiled_matrix.ts";
import type { FloatTensor } from "../body_tensors.ts";
import { notSymmetric } from "../errors.ts";
import { copySubmatrix, diagonalOf, submatrixOf } from "../linalg/tile_arithmetic.ts";
import type { Strip, StripRules } from "../../device/host_memory.ts";
import type { DeferredChecks, TensorSink, Uploader } from "./upload.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";

/** Receives the weight or the target of a layer, (rows, cols) in F32, F16 or BF16. The result is an f32 matrix. */
export class WeightSink implements TensorSink<TiledMatrix> {
  readonly stripRules: StripRules;
  readonly checksPerStrip = 1;
  readonly #matrix: Owned<TiledMatrix>;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(private readonly backend: Backend, private readonly tensor: FloatTensor, edge: number) {
    const { name: label, dtype, rows, cols } = tensor;
    this.stripRules = { rows, rowBytes: cols * BYTES_PER_ELEMENT[dtype], boundary: edge };
    this.#matrix = new Owned(new TiledMatrix(backend, { label, rows, cols, edge }));
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader): void {
    const { cols } = this.tensor, { row0, rows } = strip, matrix = this.#matrix.value;
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

  take(): TiledMatrix {
    return this.#matrix.take();
  }

  destroy(): void {
    this.#matrix.destroy();
  }
}

/**
 * The largest accepted difference |h_ij − h_ji|, relative to √(h_ii·h_jj). If a client computes the two triangles
 * separately in f32, the difference is about 1e-6. A matrix with a difference of more than 1e-3 is not Σ x·xᵀ.
 */
const SYMMETRY_TOLERANCE = 1e-3;

/** Receives all rows of an (order, order) F32 matrix. */
export class HessianSink implements TensorSink<TiledMatrix> {
  readonly stripRules: StripRules;
  readonly checksPerStrip: number;
  readonly #matrix: Owned<TiledMatrix>;
  readonly #diagonal: DeviceBuffer; // (order) f32: the diagonal of the rows that have been received

  /** @param name the name of the tensor in error messages @throws {OutOfDeviceMemoryError} */
  constructor(
    private readonly backend: Backend,
    private readonly order: number,
    edge: number,
    private readonly name = "hessian",
  ) {
    this.stripRules = { rows: order, rowBytes: 4 * order, boundary: edge };
    using owned = new ResourceSet();
    this.#diagonal = owned.add(backend.createBuffer("diagonal", 4 * order));
    this.#matrix = new Owned(createUpperMatrix(backend, order, edge));
    owned.move();
    this.checksPerStrip = 1 + this.#matrix.value.tileRows;
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader, checks: DeferredChecks): void {
    const order = this.order, { row0, rows } = strip, matrix = this.#matrix.value;
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
    const upper = this.#matrix.value.tile(j, i);
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

  take(): TiledMatrix {
    return this.#matrix.take();
  }

  destroy(): void {
    this.#diagonal.destroy();
    this.#matrix.destroy();
  }
}

/** Receives the upper triangle of an (order, order) matrix, packed row by row: F32 [order·(order+1)/2]. */
export class PackedHessianSink implements TensorSink<TiledMatrix> {
  readonly stripRules: StripRules;
  readonly checksPerStrip = 1;
  readonly #matrix: Owned<TiledMatrix>;

  /** @param name the name of the tensor in error messages @throws {OutOfDeviceMemoryError} */
  constructor(
    private readonly backend: Backend,
    private readonly order: number,
    edge: number,
    private readonly name = "hessian_upper",
  ) {
    this.stripRules = { rows: order, rowBytes: (row) => 4 * (order - row), boundary: edge };
    this.#matrix = new Owned(createUpperMatrix(backend, order, edge));
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader): void {
    const { row0, rows } = strip, matrix = this.#matrix.value;
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

  take(): TiledMatrix {
    return this.#matrix.take();
  }

  destroy(): void {
    this.#matrix.destroy();
  }
}

/** Returns the index of the first element of row `row` in a packed upper triangle of order `order`. */
function packedRowStart(order: number, row: number): number {
  return row * order - (row * (row - 1)) / 2;
}

function createUpperMatrix(backend: Backend, order: number, edge: number): TiledMatrix {
  return new TiledMatrix(backend, { label: "hessian", rows: order, cols: order, edge, storage: "upper" });
}

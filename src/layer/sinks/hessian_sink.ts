/**
 * Receives a Hessian: either the whole matrix [n, n], whose lower triangle must mirror its upper one, or the packed upper triangle. Both
 * become a `TiledMatrix` that stores the upper triangle.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import { TiledMatrix } from "../../backend/tiled_matrix.ts";
import { checkSymmetry } from "../../kernels/check.ts";
import { getDiagonal } from "../../kernels/diagonal.ts";
import { unpackUpper } from "../../kernels/unpack_upper.ts";
import { copySubmatrix } from "../../linalg/copy_submatrix.ts";
import { submatrixOf } from "../../linalg/submatrix.ts";
import type { DeferredChecks } from "./deferred_checks.ts";
import { cutStrips, type Strip } from "./strips.ts";
import { NotSymmetricError } from "../errors.ts";
import type { TensorSink } from "./tensor_sink.ts";
import type { Uploader } from "./upload.ts";

/**
 * The largest difference of two mirrored elements, relative to √(h_ii·h_jj). A product in f32 that fills both triangles differs by about
 * 1e-6. A matrix that differs by 1e-3 is not Σ x·xᵀ.
 */
const SYMMETRY_TOLERANCE = 1e-3;

/** Receives all rows of an (order, order) F32 matrix. */
export class HessianSink implements TensorSink {
  readonly strips: readonly Strip[];
  readonly checksPerStrip: number;
  readonly #backend: Backend;
  readonly #order: number;
  readonly #matrix: TiledMatrix;
  readonly #diagonal: DeviceBuffer;
  #taken = false;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(backend: Backend, order: number, edge: number) {
    this.#backend = backend;
    this.#order = order;
    this.strips = cutStrips({ rows: order, rowBytes: 4 * order, boundary: edge });
    this.#diagonal = backend.createBuffer("diagonal", 4 * order);
    try {
      this.#matrix = upperMatrix(backend, order, edge);
    } catch (error) {
      this.#diagonal.destroy();
      throw error;
    }
    this.checksPerStrip = 1 + this.#matrix.tileRows;
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader, checks: DeferredChecks): void {
    const order = this.#order, { row0, rows } = strip, matrix = this.#matrix;
    const locate = (index: number): [number, number] => [row0 + Math.floor(index / order), index % order];
    const buffer = uploader.stage({ name: "hessian", dtype: "F32" }, bytes, rows * order, locate);
    const i = Math.floor(row0 / matrix.edge);
    for (let j = i; j < matrix.tileCols; j++) {
      const tile = matrix.tile(i, j);
      // Elements left of the diagonal are compared below but not stored. The copy starts at a multiple of 16 bytes, like the rows.
      const col = Math.max(tile.col0, Math.floor(row0 / 4) * 4);
      const source = { buffer, offset: col, ld: order };
      copySubmatrix(this.#backend, source, submatrixOf(tile, row0, col), rows, tile.col0 + tile.cols - col);
    }
    this.#backend.dispatch(getDiagonal, { tile: buffer, diagonal: this.#diagonal }, {
      count: rows,
      row: 0,
      col: row0,
      ld: order,
      first: row0,
    });
    for (let j = 0; j <= i; j++) this.#checkMirror(buffer, strip, j, i, checks, locate);
  }

  /** Compares the strip's elements in tile (i, j), left of the diagonal, with tile (j, i), whose rows came earlier. */
  #checkMirror(
    buffer: DeviceBuffer,
    { row0, rows }: Strip,
    j: number,
    i: number,
    checks: DeferredChecks,
    locate: (index: number) => [number, number],
  ): void {
    const upper = this.#matrix.tile(j, i);
    this.#backend.dispatch(checkSymmetry, {
      strip: buffer,
      upper: upper.buffer,
      diagonal: this.#diagonal,
      first: checks.buffer,
    }, {
      rows,
      cols: upper.rows,
      row0,
      col0: upper.row0,
      ldstrip: this.#order,
      ldupper: upper.ld,
      tile_col0: upper.col0,
      slot: checks.open((index) => new NotSymmetricError("hessian", locate(index))),
      tolerance: SYMMETRY_TOLERANCE,
    });
  }

  /** Returns the matrix. The caller now owns it. */
  take(): TiledMatrix {
    this.#taken = true;
    return this.#matrix;
  }

  destroy(): void {
    this.#diagonal.destroy();
    if (!this.#taken) this.#matrix.destroy();
  }
}

/** Receives the packed upper triangle of an (order, order) matrix, F32 [order·(order+1)/2]. */
export class PackedHessianSink implements TensorSink {
  readonly strips: readonly Strip[];
  readonly checksPerStrip = 1;
  readonly #backend: Backend;
  readonly #order: number;
  readonly #matrix: TiledMatrix;
  #taken = false;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(backend: Backend, order: number, edge: number) {
    this.#backend = backend;
    this.#order = order;
    this.strips = cutStrips({ rows: order, rowBytes: (row) => 4 * (order - row), boundary: edge });
    this.#matrix = upperMatrix(backend, order, edge);
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader): void {
    const { row0, rows } = strip, matrix = this.#matrix;
    const source = uploader.stage(
      { name: "hessian_upper", dtype: "F32" },
      bytes,
      strip.byteLength / 4,
      (index) => [packedStart(this.#order, row0) + index],
    );
    const i = Math.floor(row0 / matrix.edge);
    for (let j = i; j < matrix.tileCols; j++) {
      const tile = matrix.tile(i, j);
      this.#backend.dispatch(unpackUpper, { source, target: tile.buffer }, {
        n: this.#order,
        rows,
        cols: tile.cols,
        first_row: row0,
        first_col: tile.col0,
        target_offset: (row0 - tile.row0) * tile.ld,
        ld: tile.ld,
      });
    }
  }

  /** Returns the matrix. The caller now owns it. */
  take(): TiledMatrix {
    this.#taken = true;
    return this.#matrix;
  }

  destroy(): void {
    if (!this.#taken) this.#matrix.destroy();
  }
}

/** The index of the first element of row `row` in a packed upper triangle of order `order`. */
function packedStart(order: number, row: number): number {
  return row * order - (row * (row - 1)) / 2;
}

function upperMatrix(backend: Backend, order: number, edge: number): TiledMatrix {
  return new TiledMatrix(backend, { label: "hessian", rows: order, cols: order, edge, storage: "upper" });
}

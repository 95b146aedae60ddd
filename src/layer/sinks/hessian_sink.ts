/**
 * Statistics that come as a matrix: the whole [n, n], whose lower triangle must mirror the upper, or the packed
 * upper triangle. Either becomes a TiledMatrix of upper storage.
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
 * How far mirrored elements may be apart, relative to √(h_ii·h_jj). A product in f32 that fills both triangles differs by about
 * 1e-6; what is off by 1e-3 was never Σ x xᵀ.
 */
const SYMMETRY_TOLERANCE = 1e-3;

/** Fills an (order, order) matrix of upper storage from all of its rows. */
export class HessianSink implements TensorSink {
  readonly strips: readonly Strip[];
  readonly slotsPerStrip: number;
  readonly #backend: Backend;
  readonly #order: number;
  readonly #matrix: TiledMatrix;
  readonly #diagonal: DeviceBuffer;
  #taken = false;

  /** @throws {RangeError} when the device has no room */
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
    this.slotsPerStrip = 1 + this.#matrix.tileRows;
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader, flaws: DeferredChecks): void {
    const order = this.#order, { row0, rows } = strip, matrix = this.#matrix;
    const locate = (index: number): [number, number] => [row0 + Math.floor(index / order), index % order];
    const buffer = uploader.stage({ name: "hessian", dtype: "F32" }, bytes, rows * order, locate);
    const i = Math.floor(row0 / matrix.edge);
    for (let j = i; j < matrix.tileCols; j++) {
      const tile = matrix.tile(i, j);
      // What lies left of the strip's diagonal is only compared, never kept. Rows start on 16 bytes, and so does the copy.
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
    for (let j = 0; j <= i; j++) this.#checkMirror(buffer, strip, j, i, flaws, locate);
  }

  /** The strip's elements under tile (i, j), left of the diagonal, against tile (j, i), whose rows came before them. */
  #checkMirror(
    buffer: DeviceBuffer,
    { row0, rows }: Strip,
    j: number,
    i: number,
    flaws: DeferredChecks,
    locate: (index: number) => [number, number],
  ): void {
    const upper = this.#matrix.tile(j, i);
    this.#backend.dispatch(checkSymmetry, {
      strip: buffer,
      upper: upper.buffer,
      diagonal: this.#diagonal,
      first: flaws.buffer,
    }, {
      rows,
      cols: upper.rows,
      row0,
      col0: upper.row0,
      ldstrip: this.#order,
      ldupper: upper.ld,
      tile_col0: upper.col0,
      slot: flaws.open((index) => new NotSymmetricError("hessian", locate(index))),
      tolerance: SYMMETRY_TOLERANCE,
    });
  }

  /** The matrix, the caller's from here on. */
  take(): TiledMatrix {
    this.#taken = true;
    return this.#matrix;
  }

  destroy(): void {
    this.#diagonal.destroy();
    if (!this.#taken) this.#matrix.destroy();
  }
}

/** Fills an (order, order) matrix of upper storage from the packed upper triangle. */
export class PackedHessianSink implements TensorSink {
  readonly strips: readonly Strip[];
  readonly slotsPerStrip = 1;
  readonly #backend: Backend;
  readonly #order: number;
  readonly #matrix: TiledMatrix;
  #taken = false;

  /** @throws {RangeError} when the device has no room */
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

  /** The matrix, the caller's from here on. */
  take(): TiledMatrix {
    this.#taken = true;
    return this.#matrix;
  }

  destroy(): void {
    if (!this.#taken) this.#matrix.destroy();
  }
}

/** Where row `row` begins in a packed upper triangle of order `order`. */
function packedStart(order: number, row: number): number {
  return row * order - (row * (row - 1)) / 2;
}

function upperMatrix(backend: Backend, order: number, edge: number): TiledMatrix {
  return new TiledMatrix(backend, { label: "hessian", rows: order, cols: order, edge, storage: "upper" });
}

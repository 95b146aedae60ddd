/** Receives the weight of a layer: rows of F32, F16 or BF16, which become a matrix of f32 tiles. */

import type { Backend } from "../../backend/backend.ts";
import { TiledMatrix } from "../../backend/tiled_matrix.ts";
import { copySubmatrix } from "../../linalg/copy_submatrix.ts";
import { submatrixOf } from "../../linalg/submatrix.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import type { FloatTensor } from "../body_tensors.ts";
import { hasPackedRows } from "../packed_rows.ts";
import { cutStrips, type Strip } from "./strips.ts";
import type { TensorSink } from "./tensor_sink.ts";
import type { Uploader } from "./upload.ts";

/** Receives a (rows, cols) weight. */
export class WeightSink implements TensorSink {
  readonly strips: readonly Strip[];
  readonly checksPerStrip = 1;
  readonly #backend: Backend;
  readonly #tensor: FloatTensor;
  readonly #matrix: TiledMatrix;
  #taken = false;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(backend: Backend, tensor: FloatTensor, edge: number) {
    const { name: label, dtype, rows, cols } = tensor;
    this.#backend = backend;
    this.#tensor = tensor;
    this.strips = cutStrips({ rows, rowBytes: cols * BYTES_PER_ELEMENT[dtype], boundary: edge });
    this.#matrix = new TiledMatrix(backend, { label, rows, cols, edge });
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader): void {
    const { cols } = this.#tensor, { row0, rows } = strip, matrix = this.#matrix;
    const count = rows * cols;
    const locate = (index: number) => [row0 + Math.floor(index / cols), index % cols];
    const i = Math.floor(row0 / matrix.edge);
    if (hasPackedRows(matrix)) {
      const { buffer, row0: first } = matrix.tile(i, 0);
      uploader.into(buffer, (row0 - first) * cols, this.#tensor, bytes, count, locate);
      return;
    }
    const buffer = uploader.stage(this.#tensor, bytes, count, locate);
    for (let j = 0; j < matrix.tileCols; j++) {
      const tile = matrix.tile(i, j);
      const source = { buffer, offset: tile.col0, ld: cols };
      copySubmatrix(this.#backend, source, submatrixOf(tile, row0, tile.col0), rows, tile.cols);
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

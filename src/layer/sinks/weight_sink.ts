import type { Backend } from "../../device/backend.ts";
import { Owned } from "../../device/owned.ts";
import { hasPackedRows, TiledMatrix } from "../../device/tiled_matrix.ts";
import { copySubmatrix, submatrixOf } from "../linalg/submatrix.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import type { FloatTensor } from "../body_tensors.ts";
import type { Strip, StripRules } from "./strips.ts";
import type { TensorSink, Uploader } from "./upload.ts";

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

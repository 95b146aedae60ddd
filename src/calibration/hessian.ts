/**
 * Calibration statistics: H = Σ x xᵀ over all tokens, accumulated on the device in f32 as they pass. The sum is not
 * normalised, so that sums of parts add up; the solvers do not depend on its scale.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import { type Tile, TiledMatrix } from "../backend/tiled_matrix.ts";
import { gemmTN } from "../kernels/gemm.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";

/** H of one input, its upper triangle. Destroy it when read. */
export class HessianAccumulator {
  /** The order of H: the features of the input. */
  readonly size: number;
  readonly #backend: Backend;
  readonly #upper: TiledMatrix;
  #taken = false;

  /** Starts at 0. @throws {RangeError} the device has no room */
  constructor(backend: Backend, label: string, size: number, edge?: number) {
    this.size = size;
    this.#backend = backend;
    this.#upper = new TiledMatrix(backend, { label, rows: size, cols: size, edge, storage: "upper" });
    for (const tile of this.#upper.tiles()) backend.clear(tile.buffer);
  }

  /** Queues H += XᵀX, with X (rows, size) f32. */
  add(x: DeviceBuffer, rows: number): void {
    for (const tile of this.#upper.tiles()) {
      this.#backend.dispatch(gemmTN, { a: x, b: x, c: tile.buffer }, {
        m: tile.rows,
        n: tile.cols,
        k: rows,
        a_offset: tile.row0,
        lda: this.size,
        b_offset: tile.col0,
        ldb: this.size,
        c_offset: 0,
        ldc: tile.ld,
        alpha: 1,
        beta: 1,
        upper: tile.row0 === tile.col0 ? 1 : 0,
      });
    }
  }

  /** Runs what is queued and reads H back: F32 [size·(size+1)/2], the row-major packed upper triangle. */
  async packedUpper(): Promise<HostTensor> {
    const packed = new Float32Array((this.size * (this.size + 1)) / 2);
    for (const tile of this.#upper.tiles()) {
      const bytes = await this.#backend.read(tile.buffer, 0, tile.rows * tile.ld * 4);
      packTile(new Float32Array(bytes.buffer), tile, this.size, packed);
    }
    return { dtype: "F32", shape: [packed.length], data: new Uint8Array(packed.buffer) };
  }

  /** H itself, (size, size) f32 upper storage: the caller's from here on. Below the diagonal its diagonal tiles hold anything. */
  take(): TiledMatrix {
    this.#taken = true;
    return this.#upper;
  }

  /** Frees the device's memory, unless it was taken. */
  destroy(): void {
    if (!this.#taken) this.#upper.destroy();
  }
}

/** Puts the elements of a tile on and above the diagonal in their places: (i, j) is at i·size − i·(i+1)/2 + j. */
function packTile(values: Float32Array, tile: Tile, size: number, packed: Float32Array): void {
  for (let r = 0; r < tile.rows; r++) {
    const i = tile.row0 + r;
    const first = Math.max(i, tile.col0); // the row's first column in the tile that is not below the diagonal
    const row = values.subarray(r * tile.ld + first - tile.col0, r * tile.ld + tile.cols);
    packed.set(row, i * size - (i * (i + 1)) / 2 + first);
  }
}

/** Sums over the rows of matrices. The device accumulates one f32 sum per row, and the host adds up the rows in float64. */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import { rowDot } from "../kernels/row_dot.ts";
import type { Submatrix } from "./submatrix.ts";

/** A (rows, columns) f32 array of sums on the device, row-major: each matrix row has `columns` sums, which start at 0. */
export class RowSums {
  readonly buffer: DeviceBuffer;
  readonly #backend: Backend;
  readonly #rows: number;
  readonly #columns: number;

  constructor(backend: Backend, rows: number, columns: number) {
    this.#backend = backend;
    this.#rows = rows;
    this.#columns = columns;
    this.buffer = backend.createBuffer("sums of the rows", 4 * rows * columns);
    backend.clear(this.buffer);
  }

  /** Queues adding the dot products x(r, :)·y(r, :) of two (rows, cols) submatrices to sum `column` of row row0 + r. */
  addDot(column: number, row0: number, x: Submatrix, y: Submatrix, rows: number, cols: number): void {
    this.#backend.dispatch(rowDot, { x: x.buffer, y: y.buffer, sums: this.buffer }, {
      rows,
      cols,
      x_offset: x.offset,
      ldx: x.ld,
      y_offset: y.offset,
      ldy: y.ld,
      sums_offset: row0 * this.#columns + column,
      sums_stride: this.#columns,
      scale: 1,
    });
  }

  /** Returns the total of each column over all rows. Waits for the device. @throws {DeviceLostError} */
  async totals(): Promise<number[]> {
    const bytes = await this.#backend.read(this.buffer, 0, 4 * this.#rows * this.#columns);
    const totals = new Array<number>(this.#columns).fill(0);
    new Float32Array(bytes.buffer).forEach((value, i) => totals[i % this.#columns] += value);
    return totals;
  }

  destroy(): void {
    this.buffer.destroy();
  }
}

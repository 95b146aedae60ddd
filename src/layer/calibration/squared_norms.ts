/**
 * Accumulates the squared norm Σ x_j² of each input j of a linear layer over the tokens of the calibration text. These norms are the
 * diagonal of the Hessian that `HessianAccumulator` computes, and cost far less time and memory than the whole Hessian.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { columnSquares } from "../../device/kernels/column_squares.ts";

/** The squared norms of the inputs of one layer, or of several layers with the same input, in device memory. */
export class SquaredNorms {
  readonly #sums: DeviceBuffer;

  /**
   * Allocates the sums, which are 0 until something is added.
   * @param label the name of the device buffer in error messages
   * @param size the number of features of the input
   * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
   */
  constructor(private readonly backend: Backend, label: string, private readonly size: number) {
    this.#sums = backend.createBuffer(label, 4 * size);
    backend.clear(this.#sums);
  }

  /** Adds the squares of X, which is f32 with shape (rows, size), to the sums. The work is only queued. */
  add(x: DeviceBuffer, rows: number): void {
    const params = { rows, cols: this.size, x_offset: 0, ldx: this.size };
    this.backend.dispatch(columnSquares, { x, sums: this.#sums }, params);
  }

  /** Waits for the queued work and reads the sums: f32 with shape (size). @throws {DeviceLostError} */
  async read(): Promise<Float32Array<ArrayBuffer>> {
    return new Float32Array((await this.backend.read(this.#sums, 0, 4 * this.size)).buffer);
  }

  /** Frees the device memory. Idempotent. */
  destroy(): void {
    this.#sums.destroy();
  }
}

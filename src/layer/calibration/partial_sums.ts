/**
 * A matrix on the device that is the sum of parts, each of which is the sum over some calibration windows. The parts are
 * added in order, so several machines that compute one part each get the same bits as one machine that computes all
 * parts. A single part takes the memory of one matrix. Several parts take the memory of two matrices.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { addRows } from "../../device/kernels/forward/rows.ts";
import { Owned } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { tilePairs } from "../linalg/tile_arithmetic.ts";

export class PartialSums {
  /** The sum of all parts before the current one. Undefined in the first part. */
  #earlier: TiledMatrix | undefined;
  #part: Owned<TiledMatrix>;

  /**
   * @param allocate returns a matrix whose contents are undefined. The first one is allocated now
   * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
   */
  constructor(private readonly backend: Backend, private readonly allocate: () => TiledMatrix) {
    this.#part = new Owned(allocate());
  }

  /** The sum of the current part. It is undefined until it is cleared or overwritten. */
  get part(): TiledMatrix {
    return this.#part.value;
  }

  /** Queues the addition of the current part to the sum, and begins a part that is 0. @throws {OutOfDeviceMemoryError} */
  endPart(): void {
    if (this.#earlier) {
      this.#add(this.#earlier);
      this.clear();
      return;
    }
    const next = new Owned(this.allocate());
    this.#earlier = this.#part.take();
    this.#part = next;
    this.clear();
  }

  /** Queues part ← 0. */
  clear(): void {
    for (const { buffer } of this.part.tiles()) this.backend.clear(buffer);
  }

  /** Adds all parts, and returns the sum, which becomes the current part. */
  whole(): TiledMatrix {
    if (this.#earlier) {
      this.#add(this.#earlier);
      this.#part.destroy();
      this.#part = new Owned(this.#earlier);
      this.#earlier = undefined;
    }
    return this.part;
  }

  /** Returns the sum of all parts. The caller now owns it and must destroy it. */
  take(): TiledMatrix {
    this.whole();
    return this.#part.take();
  }

  destroy(): void {
    this.#earlier?.destroy();
    this.#part.destroy();
  }

  /** Queues sum ← sum + part, one rounding for each entry. */
  #add(sum: TiledMatrix): void {
    for (const [{ buffer: x, rows, ld }, { buffer: y }] of tilePairs(this.part, sum)) {
      addBuffer(this.backend, x, 1, y, rows, ld);
    }
  }
}

/** Queues Y ← Y + factor·X for contiguous matrices of (rows, cols). */
export function addBuffer(
  backend: Backend,
  x: DeviceBuffer,
  factor: number,
  y: DeviceBuffer,
  rows: number,
  cols: number,
): void {
  const none = backend.createBuffer("unused", 4);
  const params = { rows, cols, offset: 0, has_index: 0, scale: factor };
  backend.dispatch(addRows, { x, index: none, factors: none, y }, params);
  none.destroy();
}

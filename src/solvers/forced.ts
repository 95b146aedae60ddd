/** The forced entries of a layer as the kernels take them. */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import type { Range } from "../linalg/ranges.ts";
import type { Layer } from "./solver.ts";

/** A binding for every kernel that can force entries, whether the layer has any or not. */
export class ForcedBinding {
  readonly bits: DeviceBuffer;
  /** The `has_forced` parameter. */
  readonly given: 0 | 1;
  readonly #perColumn: Uint32Array | undefined;
  readonly #ours: boolean;

  constructor(backend: Backend, layer: Layer) {
    this.#ours = layer.forced === undefined;
    this.#perColumn = layer.forced?.perColumn;
    this.given = layer.forced ? 1 : 0;
    this.bits = layer.forced?.bits ?? backend.createBuffer("no forced entries", 4);
  }

  /** How many entries of these columns are forced. */
  count(columns: Range): number {
    return this.#perColumn?.subarray(columns.start, columns.end).reduce((sum, count) => sum + count, 0) ?? 0;
  }

  destroy(): void {
    if (this.#ours) this.bits.destroy();
  }
}

/**
 * Binds the forced entries of a layer, which must be pruned whatever their scores, to kernels. A layer may
 * have no forced entries, but a kernel always needs a buffer for its binding, so it then gets a placeholder.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { IndexRange } from "../linalg/blocking.ts";
import type { Layer } from "./solver.ts";

/** The `forced` binding and the `has_forced` parameter of a kernel. */
export class ForcedBinding {
  /** The bits of the forced entries, or a placeholder of 4 bytes if there are none. */
  readonly bits: DeviceBuffer;
  /** The `has_forced` parameter: 1 if the layer has forced entries, and 0 otherwise. */
  readonly hasForced: 0 | 1;
  readonly #perColumn: Uint32Array | undefined;
  readonly #ownsBits: boolean;

  constructor(backend: Backend, layer: Layer) {
    this.#ownsBits = layer.forced === undefined;
    this.#perColumn = layer.forced?.perColumn;
    this.hasForced = layer.forced ? 1 : 0;
    this.bits = layer.forced?.bits ?? backend.createBuffer("no forced entries", 4);
  }

  /** Returns the number of forced entries in the given columns. */
  count(columns: IndexRange): number {
    return this.#perColumn?.subarray(columns.start, columns.end).reduce((sum, count) => sum + count, 0) ?? 0;
  }

  /** Frees the placeholder. The layer's own bits belong to the caller of the solver. */
  destroy(): void {
    if (this.#ownsBits) this.bits.destroy();
  }
}

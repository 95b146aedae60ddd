/**
 * Chooses which entries of a matrix to keep. It keeps the entries with the largest magnitudes. Their number follows exactly from the
 * sparsity or the n:m pattern. The choice covers the whole layer at once, and the CPU reads nothing back from the device.
 * `device/kernels/selection/choose.ts` describes the kernels.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import type { Tile, TiledMatrix } from "../../device/tiled_matrix.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { ResourceSet } from "../../device/owned.ts";
import {
  chooseEntries,
  chooseInGroups,
  countScoreTies,
  scoreHistogram,
} from "../../device/kernels/selection/choose.ts";
import { RADIX_BINS, RADIX_LEVELS, rankTies, selectDigit } from "../../device/kernels/selection/select.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";
import { ForcedBinding } from "./selection.ts";
import type { Layer, SolveOptions } from "./solver.ts";

/** Chooses entries of matrices with the shape and tiling of one layer. All choices use the same buffers. */
export class EntryChooser {
  /** The number of entries that are pruned if the pattern is unstructured, including the forced entries. */
  readonly prunedCount: number;
  /** The entries that are pruned whatever their magnitudes, because the request's mask says so. */
  readonly forced: ForcedBinding;
  readonly #words: number;
  readonly #rows: number;
  readonly #owned: ResourceSet;
  /** (cols) f32, all 1. The kernels multiply each magnitude by the factor of its column, and here all factors are 1. */
  readonly #scale: DeviceBuffer;
  readonly #selection: DeviceBuffer;
  readonly #histogram: DeviceBuffer;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(private readonly backend: Backend, layer: Layer, private readonly options: SolveOptions) {
    const { rows, cols } = layer.weight;
    this.#words = wordsPerRow(cols);
    this.#rows = rows;
    using allocated = new ResourceSet();
    this.forced = allocated.add(new ForcedBinding(backend, layer));
    this.#scale = allocated.add(createBufferOf(backend, "ones", new Float32Array(cols).fill(1)));
    this.#selection = allocated.add(backend.createBuffer("selection", 4 * (2 + rows)));
    this.#histogram = allocated.add(backend.createBuffer("histogram", 4 * RADIX_BINS));
    this.#owned = allocated.move();
    const forcedCount = this.forced.count({ start: 0, end: cols });
    this.prunedCount = Math.max(forcedCount, Math.round(options.sparsity * rows * cols));
    backend.clear(this.#histogram);
  }

  /** Queues the choice among the entries of `x`. The result is written to `mask`, which has the layout of `Solution.mask`. */
  choose(x: TiledMatrix, mask: DeviceBuffer): void {
    const { pattern } = this.options;
    this.backend.clear(mask);
    if (pattern.kind === "n:m") {
      const { keep, group } = pattern;
      for (const tile of x.tiles()) {
        const params = { ...this.#params(tile), keep, group };
        this.backend.dispatch(chooseInGroups, { ...this.#operands(tile), mask }, params);
      }
      return;
    }
    const selection = this.#selection, histogram = this.#histogram;
    this.backend.clear(selection);
    for (let level = 0; level < RADIX_LEVELS; level++) {
      for (const tile of x.tiles()) {
        const buffers = { ...this.#operands(tile), selection, histogram };
        this.backend.dispatch(scoreHistogram, buffers, { ...this.#params(tile), level });
      }
      this.backend.dispatch(selectDigit, { histogram, selection }, { level, k: this.prunedCount });
    }
    for (const tile of x.tiles()) {
      this.backend.dispatch(countScoreTies, { ...this.#operands(tile), selection }, this.#params(tile));
    }
    this.backend.dispatch(rankTies, { selection }, { rows: this.#rows });
    for (const tile of x.tiles()) {
      this.backend.dispatch(chooseEntries, { ...this.#operands(tile), selection, mask }, this.#params(tile));
    }
  }

  #operands({ buffer }: Tile) {
    return { x: buffer, scale: this.#scale, forced: this.forced.bits };
  }

  #params({ rows, cols, ld, row0, col0: first }: Tile) {
    return { rows, cols, ld, row0, first, words: this.#words, has_forced: this.forced.hasForced };
  }

  destroy(): void {
    this.#owned.destroy();
  }
}

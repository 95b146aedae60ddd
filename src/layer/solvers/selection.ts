/**
 * Selects the entries with the smallest scores on the device, without reading anything back. It runs the radix select of
 * `device/kernels/selection/select.ts` pass by pass. All rows are processed at once, and the columns one block at a time.
 *
 * Each entry has a key, which is an unsigned integer with the same order as the score. The largest key to prune is called the threshold.
 * Each of four passes determines one byte of the threshold, from the most significant byte down. Entries whose key equals the threshold are
 * ties. Often only some of the ties must be pruned, and these are taken from the first rows.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import {
  countTies,
  keyHistogram,
  RADIX_BINS,
  RADIX_LEVELS,
  rankTies,
  scoreKeys,
  selectDigit,
} from "../../device/kernels/selection/select.ts";
import {
  DIGITS_LENGTH,
  finishSelection,
  refineHistogram,
} from "../../device/kernels/selection/select_block.ts";
import { updateBlock } from "../../device/kernels/selection/update_block.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { IndexRange, Tile } from "../../device/tiled_matrix.ts";
import { wordsPerRow } from "../../tensor/pattern.ts";
import { submatrixOf } from "../linalg/tile_arithmetic.ts";
import type { BlockUpdate, Layer } from "./solver.ts";

interface ScoreOperands {
  readonly scale: DeviceBuffer; // (cols) f32: the score of entry (r, c) is |w[r, c]|·scale[c]
  /** The entries that must be pruned. They are selected before all others. */
  readonly forced: ForcedBinding;
}

interface BlockWeights {
  /** (rows, ld) f32. The block is in the first columns. */
  readonly work: DeviceBuffer;
  readonly ld: number;
}

/** The original weights of a layer, and the weights of the block that is being pruned (`SolveWorkspace`). */
interface LoadableWeights extends BlockWeights {
  /** Queues copying the original weights of a block to `work`, and adding the update. */
  load(columns: IndexRange, update?: BlockUpdate): void;
  /** Returns the tiles with the original weights of a block, from top to bottom. */
  tilesOf(columns: IndexRange): Iterable<Tile>;
}

/** The keys of one block of columns and the state of the selection among them. */
export class Selection {
  readonly keys: DeviceBuffer; // (rows, columns of the block) u32
  /** (2 + rows) u32: the threshold, the number of ties to prune, and the number of ties to prune in each row. */
  readonly state: DeviceBuffer;
  readonly #histogram: DeviceBuffer;
  /**
   * The histograms of a selection in four dispatches. A GPU is faster with few dispatches, because each has to wait for the end of the one
   * before, and a CPU because the weights stay in its cache meanwhile. On a software adapter, which emulates a GPU on the CPU, they do not
   * exist, because smaller histograms are faster there.
   */
  readonly #digits: DeviceBuffer | undefined;
  readonly #owned: ResourceSet;

  /**
   * Creates a selection for a layer of (rows, cols) and blocks of at most `blocksize` columns.
   * @throws {OutOfDeviceMemoryError} if a buffer cannot be allocated. The buffers allocated before it are freed.
   */
  constructor(
    private readonly backend: Backend,
    private readonly rows: number,
    private readonly cols: number,
    blocksize: number,
    private readonly operands: ScoreOperands,
  ) {
    using allocated = new ResourceSet();
    this.keys = allocated.add(backend.createBuffer("keys", 4 * rows * Math.min(blocksize, cols)));
    this.state = allocated.add(backend.createBuffer("selection", 4 * (2 + rows)));
    this.#histogram = allocated.add(backend.createBuffer("histogram", 4 * RADIX_BINS));
    this.#digits = !backend.adapter.software || backend.kind === "cpu"
      ? allocated.add(backend.createBuffer("digits", 4 * DIGITS_LENGTH))
      : undefined;
    this.#owned = allocated.move();
    backend.clear(this.#histogram);
    if (this.#digits) backend.clear(this.#digits);
    backend.clear(this.state);
  }

  /**
   * Queues loading the weights of the block's `columns` with their update, and selecting the `count` entries with the smallest scores among
   * them.
   * @param update undefined if there are no earlier blocks
   */
  loadAndSelect(
    weights: LoadableWeights,
    columns: IndexRange,
    update: BlockUpdate | undefined,
    count: number,
  ): void {
    if (this.#digits) {
      this.#loadAndSelectInFour(weights, columns, update, count, this.#digits);
      return;
    }
    weights.load(columns, update);
    this.computeKeys(weights, columns);
    for (let level = 0; level < RADIX_LEVELS; level++) {
      this.addToHistogram(columns, level);
      this.narrowThreshold(level, count);
    }
    this.countTies(columns, false);
    this.assignTies();
  }

  /** Does the same as `loadAndSelect` with four dispatches instead of thirteen, if the block lies in one tile. */
  #loadAndSelectInFour(
    weights: LoadableWeights,
    columns: IndexRange,
    update: BlockUpdate | undefined,
    count: number,
    digits: DeviceBuffer,
  ): void {
    const { keys, state: selection } = this;
    const rows = this.rows, cols = columns.end - columns.start;
    for (const tile of weights.tilesOf(columns)) {
      this.#updateRows(weights, tile, columns, update, digits);
    }
    for (const level of [1, 2]) {
      this.backend.dispatch(refineHistogram, { keys, digits }, { count: rows * cols, level, k: count });
    }
    this.backend.dispatch(finishSelection, { keys, digits, selection }, { rows, cols });
  }

  computeKeys(weights: BlockWeights, columns: IndexRange): void {
    const { scale, forced } = this.operands;
    const operands = { work: weights.work, scale, forced: forced.bits, keys: this.keys };
    this.backend.dispatch(scoreKeys, operands, {
      rows: this.rows,
      cols: columns.end - columns.start,
      ld: weights.ld,
      first: columns.start,
      words: wordsPerRow(this.cols),
      has_forced: forced.hasForced,
    });
  }

  /** Queues loading the rows of `tile`, adding the update, and computing and counting their keys. */
  #updateRows(
    { work, ld }: BlockWeights,
    tile: Tile,
    columns: IndexRange,
    update: BlockUpdate | undefined,
    digits: DeviceBuffer,
  ): void {
    const { scale, forced } = this.operands, size = columns.end - columns.start;
    const w = submatrixOf(tile, tile.row0, columns.start);
    // Without an update, A and U are not read, but all bindings need a buffer.
    const a = update?.accumulated ?? w, u = update?.inverse ?? w;
    const buffers = { a: a.buffer, u: u.buffer, w: w.buffer, scale, forced: forced.bits };
    this.backend.dispatch(updateBlock, { ...buffers, work, keys: this.keys, digits }, {
      rows: tile.rows,
      cols: size,
      depth: update ? size : 0,
      row0: tile.row0,
      a_offset: a.offset + tile.row0 * a.ld,
      lda: a.ld,
      u_offset: u.offset,
      ldu: u.ld,
      w_offset: w.offset,
      ldw: w.ld,
      ldwork: ld,
      first: columns.start,
      words: wordsPerRow(this.cols),
      has_forced: forced.hasForced,
    });
  }

  addToHistogram(columns: IndexRange, level: number): void {
    const { keys, state: selection } = this;
    this.backend.dispatch(keyHistogram, { keys, selection, histogram: this.#histogram }, {
      count: this.rows * (columns.end - columns.start),
      level,
    });
  }

  /** Queues determining the threshold's byte at `level` from the histogram, for a selection of `count` entries. */
  narrowThreshold(level: number, count: number): void {
    this.backend.dispatch(selectDigit, { histogram: this.#histogram, selection: this.state }, {
      level,
      k: count,
    });
  }

  /** Queues counting the ties of each row in the block. With `accumulate`, the counts are added to those of earlier blocks. */
  countTies(columns: IndexRange, accumulate: boolean): void {
    this.backend.dispatch(countTies, { keys: this.keys, selection: this.state }, {
      rows: this.rows,
      cols: columns.end - columns.start,
      accumulate: accumulate ? 1 : 0,
    });
  }

  /** Queues computing how many ties are pruned in each row, beginning with the first row. */
  assignTies(): void {
    this.backend.dispatch(rankTies, { selection: this.state }, { rows: this.rows });
  }

  destroy(): void {
    this.#owned.destroy();
  }
}

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

/**
 * Selects the entries of one block of columns with the smallest scores on the device, without reading anything back. All rows are
 * processed at once. `device/kernels/selection/select_block.ts` describes the method. Often only some of the ties must be pruned, and
 * these are taken from the first rows.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
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

/** The original weights of a layer, and the weights of the block that is being pruned (`SolveWorkspace`). */
interface LoadableWeights {
  /** (rows, ld) f32. The block is in the first columns. */
  readonly work: DeviceBuffer;
  readonly ld: number;
  /** Returns the tiles with the original weights of a block, from top to bottom. */
  tilesOf(columns: IndexRange): Iterable<Tile>;
}

/** The keys of one block of columns and the state of the selection among them. */
export class Selection {
  readonly keys: DeviceBuffer; // (rows, columns of the block) u32
  /** (2 + rows) u32: the threshold, the number of ties to prune, and the number of ties to prune in each row. */
  readonly state: DeviceBuffer;
  readonly #digits: DeviceBuffer;
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
    this.#digits = allocated.add(backend.createBuffer("digits", 4 * DIGITS_LENGTH));
    this.#owned = allocated.move();
    backend.clear(this.#digits);
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
    const { keys, state: selection } = this, digits = this.#digits;
    const rows = this.rows, cols = columns.end - columns.start;
    for (const tile of weights.tilesOf(columns)) {
      this.#updateRows(weights, tile, columns, update);
    }
    for (const level of [1, 2]) {
      this.backend.dispatch(refineHistogram, { keys, digits }, { count: rows * cols, level, k: count });
    }
    this.backend.dispatch(finishSelection, { keys, digits, selection }, { rows, cols });
  }

  /** Queues loading the rows of `tile`, adding the update, and computing and counting their keys. */
  #updateRows(
    { work, ld }: LoadableWeights,
    tile: Tile,
    columns: IndexRange,
    update: BlockUpdate | undefined,
  ): void {
    const { scale, forced } = this.operands, size = columns.end - columns.start;
    const w = submatrixOf(tile, tile.row0, columns.start);
    // Without an update, A and U are not read, but all bindings need a buffer.
    const a = update?.accumulated ?? w, u = update?.inverse ?? w;
    const buffers = { a: a.buffer, u: u.buffer, w: w.buffer, scale, forced: forced.bits };
    this.backend.dispatch(updateBlock, { ...buffers, work, keys: this.keys, digits: this.#digits }, {
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

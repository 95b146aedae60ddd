/**
 * The buffers a solver fills for one layer, and the two ways a block of columns in them is pruned. It chooses nothing and compensates
 * nothing: that is the solver's.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import { type Tile, TiledMatrix } from "../backend/tiled_matrix.ts";
import { pruneBlock, pruneBlockNM } from "../kernels/prune_block.ts";
import { copyBlock } from "../linalg/copy_block.ts";
import { type Block, blockOf } from "../linalg/gemm.ts";
import { Owned } from "../linalg/owned.ts";
import type { Range } from "../linalg/ranges.ts";
import { RowSums } from "../linalg/row_sums.ts";
import { wordsPerRow } from "../sparsity/mask_bits.ts";
import type { Pattern } from "../sparsity/pattern.ts";
import { ForcedBinding } from "./forced.ts";
import type { Selection } from "./selection.ts";
import type { Layer } from "./solver.ts";

/** Columns of `sums`: Σ err² and Σ Δ², as the prune kernels lay them out. */
export const SUM_COLUMNS = 2;

/** One layer being solved. */
export class Workspace {
  /** W, then Δ: (rows, cols). The caller's. */
  readonly weight: TiledMatrix;
  /** Q, (rows, cols). */
  readonly q: TiledMatrix;
  /** u32 bits of the kept entries, ⌈cols/32⌉ words a row. */
  readonly mask: DeviceBuffer;
  /** Σ err² and Σ Δ² a row. */
  readonly sums: RowSums;
  /** W_k, (rows, ld) f32: the block being pruned, with its updates. */
  readonly work: DeviceBuffer;
  readonly ld: number;
  readonly forced: ForcedBinding;
  readonly #backend: Backend;

  /** @throws {RangeError} when the device has no room; nothing stays allocated then. */
  constructor(backend: Backend, layer: Layer, blocksize: number) {
    const { rows, cols, edge } = layer.weight;
    this.#backend = backend;
    this.weight = layer.weight;
    this.ld = Math.min(blocksize, cols);
    const made = new Owned();
    try {
      this.q = made.add(new TiledMatrix(backend, { label: "q", rows, cols, edge }));
      this.mask = made.add(backend.createBuffer("mask", 4 * rows * wordsPerRow(cols)));
      this.sums = made.add(new RowSums(backend, rows, SUM_COLUMNS));
      this.work = made.add(backend.createBuffer("block of weights", 4 * rows * this.ld));
      this.forced = made.add(new ForcedBinding(backend, layer));
    } catch (error) {
      made.destroy();
      throw error;
    }
    backend.clear(this.mask);
  }

  /** The element of `work` of a matrix row and a column of the block. */
  workBlock(row: number): Block {
    return { buffer: this.work, offset: row * this.ld, ld: this.ld };
  }

  /** Queues work = W_k, as it came. */
  load(k: Range): void {
    for (const tile of this.#tilesAt(k)) {
      const source = blockOf(tile, tile.row0, k.start);
      copyBlock(this.#backend, source, this.workBlock(tile.row0), tile.rows, k.end - k.start);
    }
  }

  /** Queues the column loop over `work` with the entries `selection` chose. `inverse` is U_kk. */
  pruneChosen(k: Range, inverse: Block, { keys, state: selection }: Selection): void {
    for (const tile of this.#tilesAt(k)) {
      const buffers = { ...this.#buffers(tile, k, inverse), keys, selection };
      this.#backend.dispatch(pruneBlock, buffers, this.#params(tile, k, inverse));
    }
  }

  /** Queues the column loop over `work`, choosing the entries of each group when it comes to it. */
  pruneGroups(k: Range, inverse: Block, pattern: Pattern & { kind: "n:m" }): void {
    const { keep, group } = pattern;
    for (const tile of this.#tilesAt(k)) {
      const buffers = { ...this.#buffers(tile, k, inverse), forced: this.forced.bits };
      const params = { ...this.#params(tile, k, inverse), keep, group, has_forced: this.forced.given };
      this.#backend.dispatch(pruneBlockNM, buffers, params);
    }
  }

  *#tilesAt(k: Range): Generator<Tile> {
    const j = Math.floor(k.start / this.weight.edge);
    for (let i = 0; i < this.weight.tileRows; i++) yield this.weight.tile(i, j);
  }

  #buffers(tile: Tile, k: Range, inverse: Block) {
    const q = this.q.tile(Math.floor(tile.row0 / this.q.edge), Math.floor(k.start / this.q.edge));
    return {
      work: this.work,
      u: inverse.buffer,
      w: tile.buffer,
      q: q.buffer,
      mask: this.mask,
      sums: this.sums.buffer,
    };
  }

  #params(tile: Tile, k: Range, inverse: Block) {
    return {
      rows: tile.rows,
      size: k.end - k.start,
      row0: tile.row0,
      ldwork: this.ld,
      u_offset: inverse.offset,
      ldu: inverse.ld,
      w_offset: k.start - tile.col0,
      ldw: tile.ld,
      first: k.start,
      words: wordsPerRow(this.weight.cols),
    };
  }

  /** Frees what is not part of a solution. */
  destroyScratch(): void {
    for (const resource of [this.sums, this.work, this.forced]) resource.destroy();
  }

  /** Frees everything but the layer's own. */
  destroy(): void {
    this.destroyScratch();
    this.q.destroy();
    this.mask.destroy();
  }
}

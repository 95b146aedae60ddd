/**
 * `SolveWorkspace` owns the device buffers of one solve and prunes one block of columns at a time. The entries to prune are either selected
 * beforehand, or chosen within each group of an n:m pattern. The solver's own code selects the entries beforehand and compensates for the
 * errors of earlier blocks.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import { type IndexRange, type Tile, TiledMatrix } from "../../device/tiled_matrix.ts";
import { gemmNN } from "../../device/kernels/gemm.ts";
import { pruneBlock, pruneBlockNM } from "../../device/kernels/prune_block.ts";
import { quantizeBlock } from "../../device/kernels/quantize_block.ts";
import { DTYPE_CODE } from "../../device/kernels/transfer/convert.ts";
import { gemm } from "../linalg/gemm.ts";
import { RowSums } from "../linalg/quadratic_form.ts";
import { copySubmatrix, type Submatrix, submatrixOf } from "../linalg/tile_arithmetic.ts";
import { maxCode, type QuantizationOptions, scaleLimit } from "../../tensor/quantization.ts";
import { type Pattern, wordsPerRow } from "../../tensor/pattern.ts";
import type { BlockUpdate, Layer, QuantizationGrids } from "./solver.ts";
import { ForcedBinding, type Selection } from "./selection.ts";

/** The number of columns of `sums`. The prune kernels write Σ Err² to column 0 and Σ Δ² to column 1. */
const SUM_COLUMNS = 2;

/** How a block is rounded, and the n:m pattern of the entries that the kernel chooses itself. */
interface Rounding extends GridRule {
  readonly pattern: Pattern;
}

type GridRule = Pick<QuantizationOptions, "bits" | "symmetric" | "ranges" | "scaleDtype" | "scaleBits">;

/** Returns the parameters of kernels that compute grids. */
export function gridParams({ bits, symmetric, ranges, scaleDtype = "F32" }: GridRule) {
  return {
    max_code: maxCode({ bits }),
    symmetric: symmetric ? 1 : 0,
    searched: ranges === "search" ? 1 : 0,
    scale_dtype: DTYPE_CODE[scaleDtype],
  };
}

/** The buffers of one layer that is being solved. The methods take a block k of columns as its range of column indices. */
export class SolveWorkspace {
  /** (rows, cols) f32: the weights W, which become Δ = W − Q block by block. The matrix belongs to the caller. */
  readonly weight: TiledMatrix;
  readonly q: TiledMatrix; // (rows, cols) f32: the pruned weights Q
  readonly mask: DeviceBuffer; // u32 bits of the kept entries, ⌈cols/32⌉ words per row
  /** Σ Err² and Σ Δ² of each row. Err is the error of a pruned weight as SparseGPT defines it (`README.md`). */
  readonly sums: RowSums;
  /** (rows, ld) f32: W_k, the weights of the block that is being pruned, including the updates from earlier blocks. */
  readonly work: DeviceBuffer;
  /** The leading dimension of `work`. */
  readonly ld: number;
  readonly forced: ForcedBinding;

  /** @throws {OutOfDeviceMemoryError} if a buffer cannot be allocated. The buffers allocated before it are freed. */
  constructor(private readonly backend: Backend, layer: Layer, blocksize: number) {
    const { rows, cols, edge } = layer.weight;
    this.weight = layer.weight;
    this.ld = Math.min(blocksize, cols);
    using allocated = new ResourceSet();
    this.q = allocated.add(new TiledMatrix(backend, { label: "q", rows, cols, edge }));
    this.mask = allocated.add(backend.createBuffer("mask", 4 * rows * wordsPerRow(cols)));
    this.sums = allocated.add(new RowSums(backend, rows, SUM_COLUMNS));
    this.work = allocated.add(backend.createBuffer("block of weights", 4 * rows * this.ld));
    this.forced = allocated.add(new ForcedBinding(backend, layer));
    allocated.move();
    backend.clear(this.mask);
  }

  workFrom(row: number): Submatrix {
    return { buffer: this.work, offset: row * this.ld, ld: this.ld };
  }

  /** Queues copying the original weights of block k to `work`, and adding `update` if there is one. */
  load(k: IndexRange, update?: BlockUpdate): void {
    const size = k.end - k.start;
    for (const tile of this.tilesOf(k)) {
      const source = submatrixOf(tile, tile.row0, k.start);
      copySubmatrix(this.backend, source, this.workFrom(tile.row0), tile.rows, size);
    }
    if (update) {
      const product = { m: this.weight.rows, n: size, k: size, beta: 1 };
      gemm(this.backend, gemmNN, update.accumulated, update.inverse, this.workFrom(0), product);
    }
  }

  /**
   * Queues the kernel that prunes the entries of `selection` in `work`, column by column.
   * @param inverse U_kk, the inverse of the diagonal block k of R, with which errors are spread to later columns
   */
  pruneSelected(k: IndexRange, inverse: Submatrix, { keys, state: selection }: Selection): void {
    for (const tile of this.tilesOf(k)) {
      const buffers = { ...this.#buffers(tile, k, inverse), keys, selection };
      this.backend.dispatch(pruneBlock, buffers, this.#params(tile, k, inverse));
    }
  }

  /**
   * Queues the kernel that goes through `work` column by column. When the kernel reaches a group of the n:m pattern, it selects the entries
   * of the group to prune.
   * @param inverse U_kk, as in `pruneSelected`
   */
  pruneGroups(k: IndexRange, inverse: Submatrix, pattern: Pattern & { kind: "n:m" }): void {
    const { keep, group } = pattern;
    for (const tile of this.tilesOf(k)) {
      const buffers = { ...this.#buffers(tile, k, inverse), forced: this.forced.bits };
      const params = { ...this.#params(tile, k, inverse), keep, group, has_forced: this.forced.hasForced };
      this.backend.dispatch(pruneBlockNM, buffers, params);
    }
  }

  /**
   * Queues the kernel that goes through `work` column by column, prunes the entries that the mask has as pruned, and rounds the others to
   * `grids`. With an n:m pattern it also selects further entries to prune when it reaches each group.
   * @param inverse U_kk, as in `pruneSelected`
   */
  quantize(k: IndexRange, inverse: Submatrix, grids: QuantizationGrids, rounding: Rounding): void {
    const { scales, zeros, groups, groupSize } = grids, { pattern } = rounding;
    const { keep, group } = pattern.kind === "n:m" ? pattern : { keep: 0, group: 0 };
    const gridsOfRow = {
      grid_size: groupSize,
      grids: groups,
      ...gridParams(rounding),
      scale_limit: scaleLimit(rounding),
    };
    for (const tile of this.tilesOf(k)) {
      const buffers = { ...this.#buffers(tile, k, inverse), scales, zeros };
      const params = { ...this.#params(tile, k, inverse), ...gridsOfRow, keep, group };
      this.backend.dispatch(quantizeBlock, buffers, params);
    }
  }

  *tilesOf(k: IndexRange): Generator<Tile> {
    const j = Math.floor(k.start / this.weight.edge);
    for (let i = 0; i < this.weight.tileRows; i++) yield this.weight.tile(i, j);
  }

  #buffers(tile: Tile, k: IndexRange, inverse: Submatrix) {
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

  #params(tile: Tile, k: IndexRange, inverse: Submatrix) {
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

  /** Frees the buffers that do not become part of a solution. */
  destroyScratch(): void {
    for (const resource of [this.sums, this.work, this.forced]) resource.destroy();
  }

  destroy(): void {
    this.destroyScratch();
    this.q.destroy();
    this.mask.destroy();
  }
}

/**
 * Prunes and rounds in one pass over the columns (SparseGPT, arXiv 2301.00774, section 3.5; GPTQ, arXiv 2210.17323). The column loop of the
 * kernel `quantize_block` rounds every weight that it keeps to a grid, so that the later columns compensate for the errors of both pruning
 * and rounding. If the entries to prune are selected block by block, this file writes the mask of a block before the loop runs on it. If all
 * columns of a row share one grid, this file computes the grids. If only groups of columns share a grid, the loop computes the grids.
 */

import type { Backend, DeviceBuffer } from "../../../device/backend.ts";
import { ResourceSet } from "../../../device/owned.ts";
import { chooseEntries } from "../../../device/kernels/selection/choose.ts";
import { fitGrids, rowExtremes } from "../../../device/kernels/quantization.ts";
import { CANDIDATES, chooseGrids, gridErrors } from "../../../device/kernels/search_grids.ts";
import type { IndexRange } from "../../../device/tiled_matrix.ts";
import type { Submatrix } from "../../linalg/tile_arithmetic.ts";
import { gridsPerRow, type QuantizationOptions } from "../../../tensor/quantization.ts";
import { type Pattern, wordsPerRow } from "../../../tensor/pattern.ts";
import { gridParams, type SolveWorkspace } from "../solve_workspace.ts";
import type { QuantizationGrids, SparseGptOptions } from "../solver.ts";

export class JointPass {
  readonly grids: QuantizationGrids;
  /** False if the mask is complete before the pass, or if the kernel chooses the entries of n:m groups itself. */
  readonly needsSelection: boolean;
  readonly #rounding: QuantizationOptions & { readonly pattern: Pattern };

  /**
   * Queues writing the parts of the mask that are known before the pass. If whole rows share a grid, also queues computing the grids from
   * the workspace's weights.
   * @param scale (cols) f32: the diagonal of R. The score of an entry is its magnitude times the scale of its column. The
   *   square of the scale is the factor of a squared rounding error of the column in the layer error, after later columns have compensated
   * @throws {OutOfDeviceMemoryError} if the grids cannot be allocated. Nothing stays allocated then.
   */
  constructor(
    private readonly backend: Backend,
    private readonly workspace: SolveWorkspace,
    private readonly scale: DeviceBuffer,
    quantization: QuantizationOptions,
    { fixedMask, pattern, sparsity }: SparseGptOptions,
  ) {
    const { rows, cols } = workspace.weight, groups = gridsPerRow(quantization, cols);
    this.#rounding = { ...quantization, pattern: fixedMask ? { kind: "unstructured" } : pattern };
    this.needsSelection = fixedMask === undefined && pattern.kind !== "n:m" && sparsity > 0;
    using allocated = new ResourceSet();
    const scales = allocated.add(backend.createBuffer("scales", 4 * rows * groups));
    const zeros = allocated.add(backend.createBuffer("zeros", 4 * rows * groups));
    this.grids = { scales, zeros, groups, groupSize: quantization.groupSize };
    if (fixedMask) backend.copy(fixedMask, 0, workspace.mask, 0, fixedMask.byteLength);
    else if (!this.needsSelection) this.#keepAllButForced();
    if (quantization.groupSize === 0) this.#fitRows();
    allocated.move();
  }

  /**
   * Queues pruning and rounding block k in the workspace's `work`.
   * @param inverse U_kk, as in `SolveWorkspace.quantize`
   * @param selection the selected entries of block k (`Selection.state`). Read only if the pass needs a selection.
   */
  run(k: IndexRange, inverse: Submatrix, selection?: DeviceBuffer): void {
    if (this.needsSelection) {
      const rows = { start: 0, end: this.workspace.weight.rows };
      this.#writeMask(this.workspace.workFrom(0), rows, k, selection!);
    }
    this.workspace.quantize(k, inverse, this.grids, this.#rounding);
  }

  /** Queues setting the mask bits of all entries except the forced ones. */
  #keepAllButForced(): void {
    const { weight } = this.workspace;
    // The key of a forced entry is 0, and the keys of all others are larger. So a selection with
    // the threshold 1 in its first word prunes exactly the forced entries.
    const selection = this.backend.createBuffer("selection of the forced entries", 4 * (2 + weight.rows));
    this.backend.clear(selection);
    this.backend.write(selection, 0, new Uint8Array(Uint32Array.of(1).buffer));
    for (const { buffer, ld, rows, cols, row0, col0 } of weight.tiles()) {
      const columns = { start: col0, end: col0 + cols };
      this.#writeMask({ buffer, offset: 0, ld }, { start: row0, end: row0 + rows }, columns, selection);
    }
    selection.destroy();
  }

  /**
   * Queues setting the mask bits of the entries that `selection` keeps. All mask bits must be 0 before the call.
   * @param weights the weights of these rows and columns, from element 0 of the buffer on
   */
  #writeMask(weights: Submatrix, rows: IndexRange, columns: IndexRange, selection: DeviceBuffer): void {
    const { forced, mask, weight } = this.workspace;
    const buffers = { x: weights.buffer, scale: this.scale, forced: forced.bits, selection, mask };
    this.backend.dispatch(chooseEntries, buffers, {
      rows: rows.end - rows.start,
      cols: columns.end - columns.start,
      ld: weights.ld,
      row0: rows.start,
      first: columns.start,
      words: wordsPerRow(weight.cols),
      has_forced: forced.hasForced,
    });
  }

  /** Queues computing one grid per row from the row's weights. */
  #fitRows(): void {
    const { weight } = this.workspace, { scales, zeros } = this.grids, { rows: count } = weight;
    const { searched, ...rule } = gridParams(this.#rounding);
    for (const extremes of [scales, zeros]) this.backend.clear(extremes);
    for (const { buffer: w, rows, cols, ld, row0 } of weight.tiles()) {
      this.backend.dispatch(rowExtremes, { w, lows: scales, highs: zeros }, { rows, cols, ld, row0 });
    }
    this.backend.dispatch(fitGrids, { scales, zeros }, { count, searched, ...rule });
    if (!searched) return;
    const errors = this.backend.createBuffer("errors of grids", 4 * CANDIDATES * count);
    this.backend.clear(errors);
    for (const stage of [0, 1]) {
      for (const { buffer: w, rows, cols, ld, row0, col0: first } of weight.tiles()) {
        const buffers = { w, importance: this.scale, scales, zeros, errors };
        this.backend.dispatch(gridErrors, buffers, { rows, cols, ld, row0, first, stage, ...rule });
      }
      this.backend.dispatch(chooseGrids, { errors, scales, zeros }, { count, stage, ...rule });
    }
    errors.destroy();
  }

  /** Frees the grids. Only for a solve that fails, because otherwise the solution owns them. */
  destroy(): void {
    this.grids.scales.destroy();
    this.grids.zeros.destroy();
  }
}

/**
 * The size limit of the solver `obc`, whose work grows with rows·cols³. The check needs neither a device nor the
 * layer's data, so a request can be refused before its body is read.
 */

import { LayerSizeError } from "../check_operands.ts";

/**
 * The largest number of columns. The kernel `remove_weights` keeps one number per removed weight of a row in
 * workgroup memory, and some adapters have only 16 KiB of it.
 */
export const MAX_OBC_COLUMNS = 3072;

/**
 * The largest value of rows·cols³. It admits layers such as 768×3072 and 2048×2048. The solver multiplies
 * about 0.6·rows·cols³ pairs of numbers, so a layer of this size takes more than an hour on two CPU cores.
 */
export const MAX_OBC_WORK = 2 ** 45;

/**
 * The largest size of the vectors of a batch of rows, in bytes. With this limit, a batch of a layer with 2048 columns
 * has 64 rows, which occupy half of the processors of a large GPU.
 */
export const MAX_OBC_BATCH_BYTES = 2 ** 30;

/**
 * Checks that `obc` can solve a layer of (rows, cols).
 * @throws {LayerSizeError} naming the limit, and the method to use instead
 */
export function checkObcSize(rows: number, cols: number): void {
  if (cols > MAX_OBC_COLUMNS) {
    throw new LayerSizeError(
      "obc",
      `a layer of ${rows}×${cols} has ${cols} columns, but at most ${MAX_OBC_COLUMNS} are possible; ` +
        "use the method sparsegpt",
    );
  }
  const work = rows * cols ** 3;
  if (work > MAX_OBC_WORK) {
    throw new LayerSizeError(
      "obc",
      `a layer of ${rows}×${cols} has rows·cols³ = ${work.toExponential(1)}, but at most ` +
        `${MAX_OBC_WORK.toExponential(1)} is possible; use the method sparsegpt`,
    );
  }
}

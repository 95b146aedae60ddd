/** The list of all kernels, for backends that compile them in advance and for tests of every kernel. */

import { biasActivate, gatedMultiply, softCap } from "./forward/activate.ts";
import { attention } from "./forward/attention.ts";
import { checkFinite, checkSymmetry } from "./transfer/check.ts";
import { fromFloat32, toFloat32 } from "./transfer/convert.ts";
import { chooseEntries, chooseInGroups, countScoreTies, scoreHistogram } from "./selection/choose.ts";
import { chooseInRows } from "./selection/choose_in_rows.ts";
import { columnSquares } from "./column_squares.ts";
import { maskedCombine, scaleTile } from "./combine.ts";
import { cgDirection, cgStep } from "./conjugate_gradient.ts";
import { copy2d, copyTransposed } from "./transfer/copy2d.ts";
import { crossEntropy } from "./forward/cross_entropy.ts";
import { getDiagonal, mirrorUpper, setDiagonal } from "./diagonal.ts";
import { gatherBits, gatherColumns, gatherSymmetric } from "./transfer/gather.ts";
import { gemmNN, gemmNT, gemmTN } from "./gemm.ts";
import type { Kernel } from "./kernel.ts";
import { layerNorm, rmsNorm } from "./forward/normalize.ts";
import { productNT, productTN } from "./product.ts";
import { pruneBlock, pruneBlockNM } from "./prune_block.ts";
import { removeWeights } from "./remove_weights.ts";
import { encodeCodes, fitGrids, rowExtremes } from "./quantization.ts";
import { quantizeBlock } from "./quantize_block.ts";
import { reverseCholesky } from "./reverse_cholesky.ts";
import { rotary } from "./forward/rotary.ts";
import { addRows, gatherRows } from "./forward/rows.ts";
import { rowDot } from "./row_dot.ts";
import { countTies, keyHistogram, rankTies, scoreKeys, selectDigit } from "./selection/select.ts";
import { finishSelection, refineHistogram } from "./selection/select_block.ts";
import { updateBlock } from "./selection/update_block.ts";
import { unpackUpper } from "./transfer/unpack_upper.ts";
import { zeroColumns } from "./zero_columns.ts";

/** All kernels. The kernels that prune a layer come before those of the model's forward pass. */
export const KERNELS: readonly Kernel[] = [
  gemmNN,
  gemmNT,
  gemmTN,
  productNT,
  productTN,
  reverseCholesky,
  copy2d,
  copyTransposed,
  getDiagonal,
  setDiagonal,
  mirrorUpper,
  zeroColumns,
  scoreKeys,
  keyHistogram,
  selectDigit,
  countTies,
  rankTies,
  updateBlock,
  refineHistogram,
  finishSelection,
  pruneBlock,
  pruneBlockNM,
  removeWeights,
  gatherColumns,
  gatherSymmetric,
  gatherBits,
  rowExtremes,
  fitGrids,
  quantizeBlock,
  encodeCodes,
  rowDot,
  columnSquares,
  scoreHistogram,
  countScoreTies,
  chooseEntries,
  chooseInGroups,
  chooseInRows,
  maskedCombine,
  scaleTile,
  cgStep,
  cgDirection,
  toFloat32,
  fromFloat32,
  unpackUpper,
  checkFinite,
  checkSymmetry,
  layerNorm,
  rmsNorm,
  biasActivate,
  gatedMultiply,
  softCap,
  rotary,
  gatherRows,
  addRows,
  attention,
  crossEntropy,
];

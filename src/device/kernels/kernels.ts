/**
 * The list of all kernels, which `deno task generate` writes. The kernels that prune a layer come before the kernels of
 * a model's forward pass and of its training.
 */

import { columnSquares } from "./column_squares.ts";
import { maskedCombine, scaleTile } from "./combine.ts";
import { cgDirection, cgStep } from "./conjugate_gradient.ts";
import { gemmNN, gemmNT, gemmTN } from "./gemm.ts";
import { mirrorUpper } from "./mirror_upper.ts";
import { productNN, productNT, productTN } from "./product.ts";
import { pruneBlock, pruneBlockNM } from "./prune_block.ts";
import { encodeCodes, fitGrids, rowExtremes } from "./quantization.ts";
import { quantizeBlock } from "./quantize_block.ts";
import { removeWeights } from "./remove_weights.ts";
import { reverseCholesky } from "./reverse_cholesky.ts";
import { rowDot } from "./row_dot.ts";
import { chooseGrids, gridErrors } from "./search_grids.ts";
import { chooseEntries, chooseInGroups, countScoreTies, scoreHistogram } from "./selection/choose.ts";
import { chooseInRows } from "./selection/choose_in_rows.ts";
import { rankTies, selectDigit } from "./selection/select.ts";
import { finishSelection, refineHistogram } from "./selection/select_block.ts";
import { updateBlock } from "./selection/update_block.ts";
import { checkFinite, checkSymmetry } from "./transfer/check.ts";
import { fromFloat32, toFloat32 } from "./transfer/convert.ts";
import { copy2d } from "./transfer/copy2d.ts";
import { gatherBits, gatherColumns, gatherSymmetric } from "./transfer/gather.ts";
import { unpackUpper } from "./transfer/unpack_upper.ts";
import { zeroColumns } from "./zero_columns.ts";
import { biasActivate, clampedGate, gatedMultiply, softCap } from "./forward/activate.ts";
import { attention } from "./forward/attention.ts";
import { causalConvolution } from "./forward/causal_convolution.ts";
import { crossEntropy } from "./forward/cross_entropy.ts";
import { klDivergence } from "./forward/kl_divergence.ts";
import { linearAttention } from "./forward/linear_attention.ts";
import { divideByRms, layerNorm, rmsNorm } from "./forward/normalize.ts";
import { rotary } from "./forward/rotary.ts";
import { addRows, gatherRows } from "./forward/rows.ts";
import { activateBackward, clampedGateBackward, gateBackward } from "./training/activate_backward.ts";
import { adam } from "./training/adam.ts";
import {
  attentionKeysBackward,
  attentionQueriesBackward,
  attentionValuesBackward,
} from "./training/attention_backward.ts";
import { attentionStatistics } from "./training/attention_statistics.ts";
import { blockLoss } from "./training/block_loss.ts";
import { causalConvolutionBackward } from "./training/causal_convolution_backward.ts";
import {
  linearAttentionInputsBackward,
  linearAttentionStatesBackward,
} from "./training/linear_attention_backward.ts";
import { normBackward } from "./training/norm_backward.ts";
import type { Kernel } from "./kernel.ts";

export const KERNELS: readonly Kernel[] = [
  columnSquares,
  maskedCombine,
  scaleTile,
  cgDirection,
  cgStep,
  gemmNN,
  gemmNT,
  gemmTN,
  mirrorUpper,
  productNN,
  productNT,
  productTN,
  pruneBlock,
  pruneBlockNM,
  encodeCodes,
  fitGrids,
  rowExtremes,
  quantizeBlock,
  removeWeights,
  reverseCholesky,
  rowDot,
  chooseGrids,
  gridErrors,
  chooseEntries,
  chooseInGroups,
  countScoreTies,
  scoreHistogram,
  chooseInRows,
  rankTies,
  selectDigit,
  finishSelection,
  refineHistogram,
  updateBlock,
  checkFinite,
  checkSymmetry,
  fromFloat32,
  toFloat32,
  copy2d,
  gatherBits,
  gatherColumns,
  gatherSymmetric,
  unpackUpper,
  zeroColumns,
  biasActivate,
  clampedGate,
  gatedMultiply,
  softCap,
  attention,
  causalConvolution,
  crossEntropy,
  klDivergence,
  linearAttention,
  divideByRms,
  layerNorm,
  rmsNorm,
  rotary,
  addRows,
  gatherRows,
  activateBackward,
  clampedGateBackward,
  gateBackward,
  adam,
  attentionKeysBackward,
  attentionQueriesBackward,
  attentionValuesBackward,
  attentionStatistics,
  blockLoss,
  causalConvolutionBackward,
  linearAttentionInputsBackward,
  linearAttentionStatesBackward,
  normBackward,
];

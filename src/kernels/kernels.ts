/** The list of all kernels, for backends that compile them in advance and for tests of every kernel. */

import { biasActivate, gatedMultiply } from "./activate.ts";
import { attention } from "./attention.ts";
import { checkFinite, checkSymmetry } from "./check.ts";
import { fromFloat32, toFloat32 } from "./convert.ts";
import { copy2d, copyTransposed } from "./copy2d.ts";
import { crossEntropy } from "./cross_entropy.ts";
import { getDiagonal, mirrorUpper, setDiagonal } from "./diagonal.ts";
import { gemmNN, gemmNT, gemmTN } from "./gemm.ts";
import type { Kernel } from "./kernel.ts";
import { layerNorm, rmsNorm } from "./normalize.ts";
import { pruneBlock, pruneBlockNM } from "./prune_block.ts";
import { reverseCholesky } from "./reverse_cholesky.ts";
import { rotary } from "./rotary.ts";
import { rowDot } from "./row_dot.ts";
import { countTies, keyHistogram, rankTies, scoreKeys, selectDigit } from "./select.ts";
import { unpackUpper } from "./unpack_upper.ts";
import { zeroColumns } from "./zero_columns.ts";

/** All kernels. The kernels that prune a layer come before those of the model's forward pass. */
export const KERNELS: readonly Kernel[] = [
  gemmNN,
  gemmNT,
  gemmTN,
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
  pruneBlock,
  pruneBlockNM,
  rowDot,
  toFloat32,
  fromFloat32,
  unpackUpper,
  checkFinite,
  checkSymmetry,
  layerNorm,
  rmsNorm,
  biasActivate,
  gatedMultiply,
  rotary,
  attention,
  crossEntropy,
];

/** The list of all cases. Every kernel has at least one. */

import type { CheckCase, KernelCase } from "../kernel_case.ts";
import { MODEL_CASES } from "./model_cases.ts";
import { PATCH_CASES } from "./patch_cases.ts";
import { BLOCK_CASES } from "./block_cases.ts";
import { FORWARD_CASES } from "./forward_cases.ts";
import { MATRIX_CASES } from "./matrix_cases.ts";
import { SELECTION_CASES } from "./selection_cases.ts";
import { TRANSFER_CASES } from "./transfer_cases.ts";

/** All cases of kernels. Kernels on which others build come first, so that a message names the cause. */
export const KERNEL_CASES: readonly KernelCase[] = [
  ...TRANSFER_CASES,
  ...MATRIX_CASES,
  ...SELECTION_CASES,
  ...BLOCK_CASES,
  ...FORWARD_CASES,
];

/** All cases: the kernels one by one, then large products, and then several kernels one after the other. */
export const ALL_CASES: readonly CheckCase[] = [...KERNEL_CASES, ...PATCH_CASES, ...MODEL_CASES];

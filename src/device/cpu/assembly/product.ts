// The CPU twins of the kernels that shaders/product.wgsl computes on matrix units. They are those of gemm.ts, but may round
// their operands to bf16 if the backend has loaded a library that multiplies bf16 (library.ts).

import { count_gemm_items, GemmArgs, run_gemm_item } from "./gemm";

export function product_nt_items(args: GemmArgs): u32 {
  return count_gemm_items(args, true);
}

export function product_nt(args: GemmArgs, item: u32): void {
  run_gemm_item(args, item, false, true, true);
}

export function product_tn_items(args: GemmArgs): u32 {
  return count_gemm_items(args, true);
}

export function product_tn(args: GemmArgs, item: u32): void {
  run_gemm_item(args, item, true, false, true);
}

// The CPU twins of the kernels that shaders/product.wgsl computes on matrix units. A CPU multiplies in f32 as
// fast as in any other way, so product_nt and product_tn are the same functions as gemm_nt and gemm_tn.

import { gemm_nt, gemm_nt_items, gemm_tn, gemm_tn_items, GemmArgs } from "./gemm";

export function product_nt_items(args: GemmArgs): u32 {
  return gemm_nt_items(args);
}

export function product_nt(args: GemmArgs, item: u32): void {
  gemm_nt(args, item);
}

export function product_tn_items(args: GemmArgs): u32 {
  return gemm_tn_items(args);
}

export function product_tn(args: GemmArgs, item: u32): void {
  gemm_tn(args, item);
}

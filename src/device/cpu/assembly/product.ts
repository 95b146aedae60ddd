// The CPU twins of the kernels that shaders/product.wgsl computes on matrix units. They are those of gemm.ts, but
// multiply rounded copies of A and B if the backend passes them (src/device/cpu/products/rounded_copies.ts).

import { count_gemm_items, GemmArgs, run_gemm_item } from "./gemm";

// The arguments of the declaration, followed by the addresses of A and B in bf16. The addresses are 0 if the backend
// has no library that multiplies bf16.
@unmanaged class ProductArgs extends GemmArgs {
  a_rounded: usize;
  b_rounded: usize;
}

export function product_nn_items(args: ProductArgs): u32 {
  return count_gemm_items(args);
}

export function product_nn(args: ProductArgs, item: u32): void {
  run_gemm_item(args, item, false, false, args.a_rounded, args.b_rounded);
}

export function product_nt_items(args: ProductArgs): u32 {
  return count_gemm_items(args);
}

export function product_nt(args: ProductArgs, item: u32): void {
  run_gemm_item(args, item, false, true, args.a_rounded, args.b_rounded);
}

export function product_tn_items(args: ProductArgs): u32 {
  return count_gemm_items(args);
}

export function product_tn(args: ProductArgs, item: u32): void {
  run_gemm_item(args, item, true, false, args.a_rounded, args.b_rounded);
}

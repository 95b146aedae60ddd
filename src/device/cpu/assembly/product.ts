// The CPU twins of the kernels that shaders/product.wgsl computes on matrix units. They run the code of gemm.ts, but
// multiply rounded copies of A and B if the backend passes them (src/device/cpu/products/rounded_copies.ts).

import { ProductNnArgs, ProductNtArgs, ProductTnArgs } from "./args";
import { run_gemm_item } from "./gemm";

export { gemm_nn_items as product_nn_items, gemm_nn_pack as product_nn_pack, gemm_nn_pack_items as product_nn_pack_items } from "./gemm";
export { gemm_nt_items as product_nt_items, gemm_nt_pack as product_nt_pack, gemm_nt_pack_items as product_nt_pack_items } from "./gemm";
export { gemm_tn_items as product_tn_items, gemm_tn_pack as product_tn_pack, gemm_tn_pack_items as product_tn_pack_items } from "./gemm";

export function product_nn(args: ProductNnArgs, item: u32): void {
  run_gemm_item(args, item, false, false, args.a_rounded, args.b_rounded);
}

export function product_nt(args: ProductNtArgs, item: u32): void {
  run_gemm_item(args, item, false, true, args.a_rounded, args.b_rounded);
}

export function product_tn(args: ProductTnArgs, item: u32): void {
  run_gemm_item(args, item, true, false, args.a_rounded, args.b_rounded);
}

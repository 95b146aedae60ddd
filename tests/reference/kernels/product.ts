export { gemm_nn as product_nn, gemm_nt as product_nt, gemm_tn as product_tn } from "./gemm.ts";

// The module's exports: every kernel's twin (NAME and NAME_items) and the scratch set-up.
// NAME_items(args) is how many independent items the kernel falls into; NAME(args, item) runs one. Threads take items in any order.

export * from "./scratch";
export * from "./wide";
export * from "./transfer";
export * from "./gemm";
export * from "./activate";
export * from "./attention";
export * from "./check";
export * from "./convert";
export * from "./copy2d";
export * from "./cross_entropy";
export * from "./normalize";
export * from "./unpack_upper";
export * from "./diagonal";
export * from "./prune_block";
export * from "./reverse_cholesky";
export * from "./rotary";
export * from "./row_dot";
export * from "./select";
export * from "./zero_columns";

// The WebAssembly module of the cpu backend: the twin of every kernel declared in src/kernels, and two memory commands
// (transfer.ts). A twin computes what the kernel's shader computes, and exports two functions:
//
//   NAME_items(args)   the number of independent work items that this dispatch splits into
//   NAME(args, item)   runs one work item
//
// Threads take the items of a dispatch in any order and run them at the same time. `args` is the address of the kernel's argument
// struct, which the backend fills in: one pointer per binding, then the parameters. The fields have the names and the order of the
// declaration in src/kernels, which tests/cpu/argument_structs_test.ts checks. The struct is an @unmanaged class, so reading a
// field is a single load.
//
// Words that the files share:
//
//   item     a work item, the part of a dispatch that one thread runs at a time
//   lane     one of the four 32-bit elements of a v128
//   block    a rectangular part of a matrix
//   strip    some whole, consecutive rows of a matrix
//   panel    a few neighbouring rows or columns that are packed or computed together
//   stride   the bytes between two rows; leading dimensions (ld…) count elements instead
//   scratch  a thread's private memory (scratch.ts)
//   paired   compiled by an engine that merges two 128-bit instructions into one 256-bit instruction (pairing.ts)

export * from "./scratch";
export * from "./pairing";
export { set_blas } from "./blas";
export * from "./transfer";
export * from "./gemm";
export * from "./product";
export * from "./activate";
export * from "./attention";
export * from "./check";
export * from "./choose";
export * from "./choose_in_rows";
export * from "./column_squares";
export * from "./combine";
export * from "./conjugate_gradient";
export * from "./convert";
export * from "./copy2d";
export * from "./cross_entropy";
export * from "./normalize";
export * from "./unpack_upper";
export * from "./diagonal";
export * from "./prune_block";
export * from "./remove_weights";
export * from "./gather";
export * from "./quantization";
export * from "./quantize_block";
export * from "./reverse_cholesky";
export * from "./rotary";
export * from "./row_dot";
export * from "./rows";
export * from "./select";
export * from "./select_block";
export * from "./update_block";
export * from "./zero_columns";

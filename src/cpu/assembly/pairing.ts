// Whether the engine merges two neighbouring 128-bit instructions into one 256-bit instruction (V8 calls this
// revectorization). If the engine does, the matrix products use micro-kernels (innermost loops) that are
// twice as wide. Without merging, the accumulators of these micro-kernels would not fit into the registers.
// Both variants give the same bits, because each sum adds its terms in the same order.

let paired: bool = false;

// The backend calls this function once per instance of the module, before any kernel runs. Only the backend
// knows the flags that the engine was started with.
export function set_paired(on: bool): void {
  paired = on;
}

// @ts-ignore: decorator
@inline export function is_paired(): bool {
  return paired;
}

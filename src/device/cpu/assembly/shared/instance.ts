// The settings of an instance of the module, which belongs to one thread: the address of its scratch, the number of
// threads, and whether the engine pairs instructions. A kernel puts packed panels, histograms and other temporary data into the scratch while it
// runs one work item. The scratch is 64-byte aligned. Its contents are undefined at the start of each item.

const SCRATCH_BYTES: u32 = 4 << 20;

let base: usize = 0;

export function set_scratch(address: usize): void {
  base = address;
}

export function scratch_bytes(): u32 {
  return SCRATCH_BYTES;
}

// The address of this thread's scratch.
@inline export function scratch(): usize {
  return base;
}

let threadCount: u32 = 1;

// The backend calls this function once per instance of the module, before any kernel runs.
export function set_threads(count: u32): void {
  threadCount = count;
}

// The number of threads that run the work items of a kernel.
@inline export function threads(): u32 {
  return threadCount;
}

// The size of the memory of all threads, in which one command can pack operands for the next.
export const SHARED_BYTES: u32 = 4 << 20;

// The 64-byte aligned address of this memory, which lies between the module's own data and the heap.
@inline export function shared_memory(): usize {
  return (__heap_base + 63) & ~63;
}

// The backend allocates from this address on.
export function heap_base(): usize {
  return shared_memory() + SHARED_BYTES;
}

// Whether the engine merges two neighbouring 128-bit instructions into one 256-bit instruction (V8 calls this
// revectorization). The matrix products then use micro-kernels that are twice as wide, whose accumulators would not fit
// into the registers otherwise. Both variants add the terms of each sum in the same order, so they give the same bits.

let paired: bool = false;

// The backend calls this function once per instance of the module, before any kernel runs. Only the backend knows the
// flags that the engine was started with.
export function set_paired(on: bool): void {
  paired = on;
}

@inline export function is_paired(): bool {
  return paired;
}

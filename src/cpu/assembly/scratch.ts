// A thread's private memory, where a kernel puts packed panels, histograms and other temporary data while it
// runs one work item. Every thread has its own instance of the module. The backend gives each instance one
// region, which is 64-byte aligned and SCRATCH_BYTES long. The contents are undefined at the start of each
// item.

export const SCRATCH_BYTES: u32 = 4 << 20;

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

// The end of the module's own data. The backend allocates from this address on.
export function heap_base(): usize {
  return __heap_base;
}

// Memory a thread has to itself while it runs one item: packed panels, histograms, rows. Each instance (thread) is given its own region once,
// 64-byte aligned and SCRATCH_BYTES long; nothing survives from one item to the next.

export const SCRATCH_BYTES: u32 = 4 << 20;

let base: usize = 0;

export function set_scratch(address: usize): void {
  base = address;
}

export function scratch_bytes(): u32 {
  return SCRATCH_BYTES;
}

@inline export function scratch(): usize {
  return base;
}

// Where the module's own data ends: the host allocates from here on.
export function heap_base(): usize {
  return __heap_base;
}

// The two queue commands that are not kernels, cut into chunks so that all threads share a large one.

import { pointer, u32At } from "./args";

// Large enough to hide the cost of taking an item, small enough to balance.
const CHUNK: u32 = 256 << 10;

@inline function chunks(bytes: u32): u32 {
  return bytes / CHUNK + u32(bytes % CHUNK != 0);
}

@inline function chunkLength(bytes: u32, item: u32): u32 {
  return min(CHUNK, bytes - item * CHUNK);
}

// Arguments: source, target, bytes.
export function copy_bytes_items(args: usize): u32 {
  return chunks(u32At(args, 2));
}

export function copy_bytes(args: usize, item: u32): void {
  const start = <usize>item * CHUNK;
  memory.copy(pointer(args, 1) + start, pointer(args, 0) + start, chunkLength(u32At(args, 2), item));
}

// Arguments: target, bytes.
export function zero_bytes_items(args: usize): u32 {
  return chunks(u32At(args, 1));
}

export function zero_bytes(args: usize, item: u32): void {
  memory.fill(pointer(args, 0) + <usize>item * CHUNK, 0, chunkLength(u32At(args, 1), item));
}

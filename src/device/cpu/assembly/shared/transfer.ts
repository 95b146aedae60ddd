// The two commands of the queue that have no declaration in src/device/kernels: copying and zeroing bytes. They are
// split into chunks, so that all threads share a large copy.

import { ceil_divide } from "./items";

// A chunk is large enough to hide the cost of taking a work item, and small enough to balance the threads.
const CHUNK_BYTES: u32 = 256 << 10;

@inline function chunk_length(bytes: u32, item: u32): u32 {
  return min(CHUNK_BYTES, bytes - item * CHUNK_BYTES);
}

@unmanaged class CopyBytesArgs {
  source: usize;
  target: usize;
  bytes: u32;
}

export function copy_bytes_items(args: CopyBytesArgs): u32 {
  return ceil_divide(args.bytes, CHUNK_BYTES);
}

export function copy_bytes(args: CopyBytesArgs, item: u32): void {
  const start = <usize>item * CHUNK_BYTES;
  memory.copy(args.target + start, args.source + start, chunk_length(args.bytes, item));
}

@unmanaged class ZeroBytesArgs {
  target: usize;
  bytes: u32;
}

export function zero_bytes_items(args: ZeroBytesArgs): u32 {
  return ceil_divide(args.bytes, CHUNK_BYTES);
}

export function zero_bytes(args: ZeroBytesArgs, item: u32): void {
  memory.fill(args.target + <usize>item * CHUNK_BYTES, 0, chunk_length(args.bytes, item));
}

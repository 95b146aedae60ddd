/** The size and the lifetime of the arrays that move bytes between host memory (the CPU's) and a device. */

import type { Backend } from "./backend.ts";

/**
 * The bytes that a long read from a device asks for at a time. On a GPU each read waits for the GPU's queue, so large reads
 * are better. The `cpu` backend copies from its own memory. There small reads are better, because the allocator
 * reuses their memory, and because a short copy does not delay other requests.
 */
export const READ_BYTES: Readonly<Record<Backend["kind"], number>> = { cpu: 2 ** 20, webgpu: 64 * 2 ** 20 };

/**
 * Frees the memory of `bytes`, which nobody uses any more. Its length is 0 afterwards. A thread that creates few objects collects
 * its garbage rarely, so without this call the arrays of many layers would occupy memory at the same time.
 */
export function freeArray(bytes: Uint8Array<ArrayBuffer>): void {
  bytes.buffer.transfer(0);
}

/**
 * The interface between the algorithms and the hardware. A backend owns the buffers of one device and a queue of kernels that
 * run on them in order. There are two backends: `webgpu` (a GPU) and `cpu` (WebAssembly). Every algorithm is written once over
 * this interface, and a backend only supplies the kernels. A backend is not a tensor library, because it infers no shapes and
 * contains no mathematics. Calls queue work and return at once. Only `read` and `finish` wait for the device.
 */

import type { Kernel } from "./kernels/kernel.ts";

/** Memory on the device. Its contents are undefined until they are written. */
export interface DeviceBuffer {
  readonly label: string;
  /** The size in bytes, a multiple of 4. */
  readonly byteLength: number;
  /** Frees the memory when the work queued so far is done. Idempotent. */
  destroy(): void;
}

/** Memory of the host, lent for one write. */
export interface HostMemory {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Gives the memory back. Has no effect if a write has taken it. Idempotent. */
  release(): void;
}

/** A description of the hardware, for people. */
export interface Adapter {
  /** A display name such as `NVIDIA H100 80GB HBM3`, `llvmpipe (LLVM 19, 256 bits)` or `WebAssembly SIMD, 2 threads`. */
  readonly name: string;
  /** Whether the adapter is a GPU interface that is emulated on the CPU. */
  readonly software: boolean;
  /** The format to which the kernels `product_*` round their operands. Absent if it is float32. */
  readonly rounds?: "bfloat16";
}

/** Counts of work, transfers and memory since the backend was created, for tests and metrics. */
export interface BackendCounters {
  dispatches: number;
  bytesWritten: number;
  bytesRead: number;
  /** The size of all buffers that exist now, in bytes. */
  bytesLive: number;
  /** The largest value of `bytesLive` so far. */
  bytesPeak: number;
}

/** A device and its queue. A backend has one owner, which runs one solve at a time. */
export interface Backend {
  readonly kind: "webgpu" | "cpu";
  readonly adapter: Adapter;
  /** The size of the largest buffer that a kernel can bind, in bytes. */
  readonly maxBufferBytes: number;
  /** All memory that buffers can take together, in bytes. Undefined if the backend cannot tell. */
  readonly memoryBytes?: number;
  readonly counters: Readonly<BackendCounters>;
  /** The self-check that the device passed after it was opened (`host/self_check/`). Undefined if there was none. */
  selfCheck?: { readonly seconds: number };

  /**
   * Allocates `byteLength` bytes (rounded up to a multiple of 4).
   * @throws {OutOfDeviceMemoryError} if the size is over `maxBufferBytes` or the device has too little free memory. The message
   *   gives the label, the size and the limit. Some backends learn only later that an allocation failed. They throw this error
   *   from the next `read` or `finish`.
   */
  createBuffer(label: string, byteLength: number): DeviceBuffer;

  /**
   * Queues writing `bytes` to `target` at `byteOffset`. Offset and length are multiples of 4. The caller may reuse `bytes` as
   * soon as the call returns, unless they lie in memory of `borrowMemory`.
   */
  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void;

  /**
   * Lends `byteLength` bytes of the host's memory, which the caller fills and passes to one `write`, whole or in part. The
   * write takes the memory instead of copying it, so the caller must not use it afterwards. Waits while too many written bytes
   * are on their way to the device. Undefined if `write` always copies.
   * @throws {DeviceLostError}
   */
  borrowMemory?(byteLength: number): Promise<HostMemory>;

  /**
   * Waits while the staging memory of the backend has no room for a write of `byteLength` bytes, because earlier bytes are
   * still on their way to the device.
   * Undefined if the backend has no such memory.
   * @throws the same errors as {@link read}
   */
  stagingRoom?(byteLength: number): Promise<void>;

  /** Queues a copy between two buffers of the device. Offsets and length are multiples of 4. */
  copy(
    source: DeviceBuffer,
    sourceOffset: number,
    target: DeviceBuffer,
    targetOffset: number,
    byteLength: number,
  ): void;

  /** Queues filling the whole buffer with zeros. */
  clear(target: DeviceBuffer): void;

  /** Queues one kernel. The caller supplies every binding and parameter that the kernel declares. */
  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void;

  /**
   * Copies `byteLength` bytes at `byteOffset` (both multiples of 4) from the device to the CPU's memory. The bytes have the
   * values that they get from the work queued before this call. The call need not wait for queued work on other buffers.
   * @throws {DeviceLostError} if the device is lost before the bytes arrive
   * @throws {Error} the first error of work that was queued earlier, if the device has not reported it before
   */
  read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;

  /** Resolves when all work queued so far is done. @throws the same errors as {@link read} */
  finish(): Promise<void>;

  /** Frees the device, its buffers and its threads. */
  dispose(): Promise<void>;
}

/**
 * The device cannot allocate a buffer, because the buffer exceeds the device's limit or memory is full. The class extends
 * RangeError, because JavaScript itself throws a RangeError when an allocation fails.
 */
export class OutOfDeviceMemoryError extends RangeError {
  override name = "OutOfDeviceMemoryError";
}

/**
 * The device was lost: the driver was reset, the device was removed, a kernel ran out of memory, or the backend was disposed
 * of. Its buffers cannot be used again.
 */
export class DeviceLostError extends Error {
  override name = "DeviceLostError";
}

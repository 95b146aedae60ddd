/**
 * The interface between the algorithms and the hardware. A backend owns the buffers of one device and a queue of
 * kernels that run on them in order. There are two backends: `webgpu` (a GPU) and `cpu` (WebAssembly). Every algorithm
 * is written once over this interface. A backend is not a tensor library: it infers no shapes and has no mathematics.
 * Calls queue work and return at once. Only `read`, `finish`, and uploads that run far ahead wait for the device.
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

export interface Adapter {
  /** A display name such as `NVIDIA H100 80GB HBM3`, `llvmpipe (LLVM 19, 256 bits)`, `WebAssembly SIMD, 2 threads`. */
  readonly name: string;
  /** Whether the adapter is a GPU interface that is emulated on the CPU. */
  readonly software: boolean;
  /** The format to which the kernels `product_*` and `attention` round their operands. Absent if it is float32. */
  readonly rounds?: "bfloat16";
}

export interface BackendCounters {
  dispatches: number;
  bytesWritten: number;
  bytesRead: number;
  /** The size of all buffers that exist now, in bytes. */
  bytesLive: number;
  bytesPeak: number;
}

export function newCounters(): BackendCounters {
  return { dispatches: 0, bytesWritten: 0, bytesRead: 0, bytesLive: 0, bytesPeak: 0 };
}

/** A device and its queue. A backend has one owner, which runs one solve at a time. */
export interface Backend {
  readonly kind: "webgpu" | "cpu";
  readonly adapter: Adapter;
  /** The size of the largest buffer that a kernel can bind, in bytes. */
  readonly maxBufferBytes: number;
  /** The total memory for buffers, in bytes. Undefined if the backend does not know it. */
  readonly memoryBytes?: number;
  readonly counters: Readonly<BackendCounters>;
  /** The self-check that the device passed after it was opened (`host/self_check/`). Undefined if there was none. */
  selfCheck?: { readonly seconds: number };

  /**
   * Allocates `byteLength` bytes (rounded up to a multiple of 4).
   * @throws {OutOfDeviceMemoryError} naming the label, the size and the limit, if the buffer is over `maxBufferBytes`
   *   or does not fit in free memory. Some backends notice the latter late, and throw from the next `read` or `finish`
   */
  createBuffer(label: string, byteLength: number): DeviceBuffer;

  /**
   * Queues writing `bytes` to `target` at `byteOffset`. Offset and length are multiples of 4. The caller may reuse
   * `bytes` as soon as the call returns, unless they lie in memory of `borrowMemory`.
   */
  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void;

  /**
   * Lends memory of the host, which the caller fills and passes to one `write`, whole or in part. The write takes the
   * memory, so the caller must not use it afterwards. Waits while too many written bytes are on their way to the
   * device. Undefined if `write` always copies.
   * @throws {DeviceLostError}
   */
  borrowMemory?(byteLength: number): Promise<HostMemory>;

  /**
   * Waits until the staging memory has room for a write of `byteLength` bytes. Undefined if there is no such memory.
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
   * Copies bytes from the device to the CPU's memory, with the values that the work queued so far gives them.
   * `byteOffset` and `byteLength` are multiples of 4. The call need not wait for queued work on other buffers.
   * @throws {DeviceLostError} {Error} the first error of earlier work that the device has not reported yet
   */
  read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;

  /** Resolves when all work queued so far is done. @throws the same errors as {@link read} */
  finish(): Promise<void>;

  dispose(): Promise<void>;
}

/** A buffer exceeds the device's limit, or memory is full. A RangeError, as for JavaScript's own allocations. */
export class OutOfDeviceMemoryError extends RangeError {
  override name = "OutOfDeviceMemoryError";
}

/** The driver was reset, the device was removed, a kernel ran out of memory, or the backend was disposed of. */
export class DeviceLostError extends Error {
  override name = "DeviceLostError";
}

/** A backend and its adapter, as reports name them. */
export interface NamedAdapter {
  readonly backend: string;
  readonly adapter: string;
}

/** The words in the name of a `cpu` adapter that pairs instructions. */
export const PAIRED = " in pairs";

/**
 * Returns the name of a `cpu` adapter without the parts that change only its speed: paired instructions and the number
 * of threads change no bits, because every sum has a fixed order. A library for products does.
 */
export function roundingName(name: string): string {
  return name.replace(PAIRED, "").replace(/,[^,]*$/, "");
}

/** Describes an adapter. Two adapters with the same description give the same bits. */
export function describeRounding({ backend, adapter }: NamedAdapter): string {
  return `${backend} (${backend === "cpu" ? roundingName(adapter) : adapter})`;
}

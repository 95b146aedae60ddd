/**
 * The interface every algorithm is written over: buffers on a device and a queue of kernels. A backend swaps
 * kernels, never algorithms: it is not a tensor library, does no shape inference and knows no mathematics.
 * Work is queued in order and runs later; only `read` and `finish` wait.
 */

import type { Kernel } from "../kernels/kernel.ts";

/** Memory on the device. Contents are undefined until written. */
export interface DeviceBuffer {
  readonly label: string;
  /** Bytes; a multiple of 4. */
  readonly byteLength: number;
  /** Frees the memory once the work queued so far is done. Calling it twice is harmless. */
  destroy(): void;
}

/** The names a user sees for where the work ran. */
export interface Adapter {
  /** For people: `NVIDIA H100 80GB HBM3`, `llvmpipe (LLVM 19, 256 bits)`, `WebAssembly SIMD, 2 threads`. */
  readonly name: string;
  /** A GPU interface emulated on the CPU. */
  readonly software: boolean;
}

/** Work and traffic since the backend was made, for tests and metrics. */
export interface BackendCounters {
  dispatches: number;
  bytesWritten: number;
  bytesRead: number;
  /** Bytes of buffers alive now, and at most so far. */
  bytesLive: number;
  bytesPeak: number;
}

/** A device and its queue. One owner; calls are not reentrant across solves. */
export interface Backend {
  readonly kind: "webgpu" | "cpu";
  readonly adapter: Adapter;
  /** The largest buffer a kernel can bind, in bytes. */
  readonly maxBufferBytes: number;
  readonly counters: Readonly<BackendCounters>;

  /**
   * Allocates `byteLength` bytes (rounded up to 4).
   * @throws {OutOfRoomError} over `maxBufferBytes`, or when the device has no room: names the label, size and limit. A backend that
   *   hears of the latter only afterwards throws it from the next wait.
   */
  createBuffer(label: string, byteLength: number): DeviceBuffer;

  /** Queues a copy of `bytes` (a multiple of 4 of them) to `byteOffset` (likewise). `bytes` may be reused at once. */
  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void;

  /** Queues a device-side copy; offsets and length are multiples of 4. */
  copy(
    source: DeviceBuffer,
    sourceOffset: number,
    target: DeviceBuffer,
    targetOffset: number,
    byteLength: number,
  ): void;

  /** Queues zeroing the whole buffer. */
  clear(target: DeviceBuffer): void;

  /** Queues one kernel. Every binding and parameter of the declaration must be given. */
  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void;

  /**
   * Copies `byteLength` bytes from `byteOffset` (multiples of 4) to the host, as everything queued before leaves them. Work that
   * does not touch the buffer may be waited for or not.
   * @throws {DeviceLostError}
   */
  read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;

  /** Resolves when everything queued so far is done. @throws {DeviceLostError} */
  finish(): Promise<void>;

  /** Frees the device, its buffers and its threads. */
  dispose(): Promise<void>;
}

/** The device has no room for a buffer, now or ever. A RangeError, as what the system throws for the same reason is. */
export class OutOfRoomError extends RangeError {
  override name = "OutOfRoomError";
}

/** The device went away (driver reset, removed, out of memory in a kernel). Nothing on it can be used again. */
export class DeviceLostError extends Error {
  override name = "DeviceLostError";
}

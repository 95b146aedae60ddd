import type { DeviceBuffer } from "../backend.ts";

/** The part of a backend that its buffers use. */
interface BufferOwner {
  /** Frees the memory of a buffer once the queued commands no longer use it. */
  release(buffer: CpuBuffer): void;
}

/** A buffer in the heap of a `cpu` backend. */
export class CpuBuffer implements DeviceBuffer {
  /** The number of queued commands up to the last command that uses the memory of the buffer. */
  usedUntil: number;
  destroyed = false;

  constructor(
    readonly owner: BufferOwner,
    readonly label: string,
    /** The address in the WebAssembly memory. */
    readonly address: number,
    readonly byteLength: number,
    usedUntil = 0,
  ) {
    this.usedUntil = usedUntil;
  }

  destroy(): void {
    if (!this.destroyed) this.owner.release(this);
    this.destroyed = true;
  }
}

/** Checks that a range lies in a buffer and consists of whole 32-bit words. @throws {RangeError} */
export function checkRange(buffer: CpuBuffer, offset: number, length: number): void {
  if (offset % 4 !== 0 || length % 4 !== 0) {
    throw new RangeError(
      `buffer ${buffer.label}: offset ${offset} and length ${length} must be multiples of 4`,
    );
  }
  if (!(offset >= 0 && length >= 0 && offset + length <= buffer.byteLength)) {
    throw new RangeError(
      `buffer ${buffer.label}: ${length} bytes at offset ${offset} exceed its ${buffer.byteLength} bytes`,
    );
  }
}

/**
 * Checks that the buffer of the binding `written` is not bound to any other binding, as WebGPU requires too.
 * @throws {TypeError}
 */
export function checkBoundOnce(
  kernel: string,
  written: string,
  buffers: Readonly<Record<string, DeviceBuffer>>,
): void {
  for (const name in buffers) {
    if (name !== written && buffers[name] === buffers[written]) {
      throw new TypeError(
        `kernel ${kernel}: the buffer of ${written}, which the kernel writes, is also bound to ${name}`,
      );
    }
  }
}

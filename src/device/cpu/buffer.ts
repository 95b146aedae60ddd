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

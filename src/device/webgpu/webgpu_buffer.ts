/** The buffers of the WebGPU backend, and the check that calls apply to a buffer. */

import type { DeviceBuffer } from "../backend.ts";

/** The WebGPU usage flags of all buffers, so that every buffer can be bound to a kernel and copied from and to. */
const USAGE = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

let nextId = 0;

/** A WebGPU buffer, with the state that the submission queue and the bind group cache store about it. */
export class WebGpuBuffer implements DeviceBuffer {
  /** Unique in the process. The keys of cached bind groups are made of these ids. */
  readonly id = nextId++;
  readonly gpu: GPUBuffer;
  /** The sequence number of the last batch whose commands use the buffer (see `SubmissionQueue`), or −1. */
  lastBatch = -1;
  #onDestroy: ((buffer: WebGpuBuffer) => void) | undefined;

  /**
   * @param byteLength a positive multiple of 4
   * @param onDestroy called once, when the buffer is destroyed. It must free the GPU memory
   */
  constructor(
    device: GPUDevice,
    readonly label: string,
    readonly byteLength: number,
    onDestroy: (buffer: WebGpuBuffer) => void,
  ) {
    // A multiple of 16 bytes, so that a shader can read a whole buffer as an array of vec4f.
    this.gpu = device.createBuffer({ label, size: Math.ceil(byteLength / 16) * 16, usage: USAGE });
    this.#onDestroy = onDestroy;
  }

  get destroyed(): boolean {
    return this.#onDestroy === undefined;
  }

  destroy(): void {
    const onDestroy = this.#onDestroy;
    this.#onDestroy = undefined;
    onDestroy?.(this);
  }
}

/**
 * Returns `buffer` as a buffer of this backend.
 * @param what the role of the buffer in the call, for the error message
 * @throws {TypeError} if the buffer belongs to another kind of backend or was destroyed
 */
export function asWebGpuBuffer(buffer: DeviceBuffer, what: string): WebGpuBuffer {
  if (!(buffer instanceof WebGpuBuffer)) {
    throw new TypeError(`${what}: expected a buffer of the webgpu backend, got ${buffer?.label ?? buffer}`);
  }
  if (buffer.destroyed) throw new TypeError(`${what}: buffer ${buffer.label} was destroyed`);
  return buffer;
}

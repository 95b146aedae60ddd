/** A buffer of the WebGPU backend, and the checks of byte ranges. */

import type { DeviceBuffer } from "../backend/backend.ts";

/** All buffers have the same usages, so that every buffer can be bound and copied. */
const USAGE = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

let created = 0;

/** A buffer on the device, with the state that the submission queue needs of it. */
export class WebGpuBuffer implements DeviceBuffer {
  /** Unique in the process. It is part of the keys of cached bind groups. */
  readonly id = created++;
  readonly label: string;
  readonly byteLength: number;
  readonly gpu: GPUBuffer;
  /** The number of the last batch that uses the buffer; see `SubmissionQueue`. */
  lastBatch = -1;
  #onDestroy: ((buffer: WebGpuBuffer) => void) | undefined;

  /** `byteLength` is a positive multiple of 4. */
  constructor(
    device: GPUDevice,
    label: string,
    byteLength: number,
    onDestroy: (buffer: WebGpuBuffer) => void,
  ) {
    this.label = label;
    this.byteLength = byteLength;
    // A multiple of 16 bytes, so that a shader may read every buffer as vec4f up to its last element.
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
 * @param what the role of the buffer in the call, for the message
 * @throws {TypeError} if the buffer belongs to another backend or was destroyed
 */
export function asWebGpuBuffer(buffer: DeviceBuffer, what: string): WebGpuBuffer {
  if (!(buffer instanceof WebGpuBuffer)) {
    throw new TypeError(`${what}: expected a buffer of the webgpu backend, got ${buffer?.label ?? buffer}`);
  }
  if (buffer.destroyed) throw new TypeError(`${what}: buffer ${buffer.label} was destroyed`);
  return buffer;
}

/** @throws {RangeError} if offset or length is not a multiple of 4, or if the range exceeds the buffer */
export function checkRange(call: string, buffer: WebGpuBuffer, byteOffset: number, byteLength: number): void {
  for (const [what, value] of [["offset", byteOffset], ["length", byteLength]] as const) {
    if (!Number.isSafeInteger(value) || value < 0 || value % 4 !== 0) {
      throw new RangeError(
        `${call} ${buffer.label}: byte ${what} must be a multiple of 4 and not negative, got ${value}`,
      );
    }
  }
  if (byteOffset + byteLength > buffer.byteLength) {
    throw new RangeError(
      `${call} ${buffer.label}: bytes ${byteOffset} to ${byteOffset + byteLength} reach past its end at ` +
        `${buffer.byteLength}`,
    );
  }
}

/** A buffer of the WebGPU backend, and the rules byte ranges must follow. Knows nothing of the queue. */

import type { DeviceBuffer } from "../backend/backend.ts";

/** All that Pare's buffers are used for; one usage for all keeps every buffer bindable and copyable. */
const USAGE = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

let created = 0;

/** Device memory, with what the queue must remember of it. */
export class WebGpuBuffer implements DeviceBuffer {
  /** Unique in the process: the key of cached bind groups. */
  readonly id = created++;
  readonly label: string;
  readonly byteLength: number;
  readonly gpu: GPUBuffer;
  /** The last batch of commands that uses it: see `CommandQueue`. */
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
    // Whole 16 bytes, so that a shader may read any buffer as vec4f to its last element.
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
 * The buffer behind the interface.
 * @throws {TypeError} when it is another backend's or destroyed; `what` names its role in the call
 */
export function asWebGpuBuffer(buffer: DeviceBuffer, what: string): WebGpuBuffer {
  if (!(buffer instanceof WebGpuBuffer)) {
    throw new TypeError(`${what}: expected a buffer of the webgpu backend, got ${buffer?.label ?? buffer}`);
  }
  if (buffer.destroyed) throw new TypeError(`${what}: buffer ${buffer.label} was destroyed`);
  return buffer;
}

/** @throws {RangeError} unless offset and length are multiples of 4 inside the buffer */
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

/**
 * Submits work in the order it was queued, in few submissions. Kernels, copies and clears are encoded into one open command encoder,
 * the *batch*. A batch is submitted when it is full, when a caller waits for the device, and before a write to a buffer that the batch
 * uses, because WebGPU's `writeBuffer` takes effect before all commands that are not yet submitted.
 */

import type { WebGpuBuffer } from "./webgpu_buffer.ts";
import { PARAMS_BYTES } from "./pipeline_cache.ts";

/** Dispatches per batch. The device starts on a batch while the next is encoded, and the cost of a submission is shared. */
export const DISPATCHES_PER_BATCH = 64;

/** Written bytes stay in staging memory until a submission. This limits how many may wait. */
const WRITE_CHUNK_BYTES = 64 * 2 ** 20;

/** One dispatch of a kernel. */
export interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly buffers: readonly WebGpuBuffer[];
  readonly grid: readonly [x: number, y: number, z: number];
}

/** The ordered queue of one device. */
export class SubmissionQueue {
  readonly #device: GPUDevice;
  /** One slot of parameters per dispatch of the open batch. It is written at submission, after the device has read the earlier batches' slots. */
  readonly params: GPUBuffer;
  /** If set, the passes that begin from now on write their start and end times there. For benches. */
  timestamps: GPUComputePassTimestampWrites | undefined;
  readonly #slots = new Uint8Array(DISPATCHES_PER_BATCH * PARAMS_BYTES);
  readonly #retired: GPUBuffer[] = [];
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #pipeline: GPUComputePipeline | undefined;
  /** The number of the open batch, and the number of its dispatches. */
  #batch = 0;
  #dispatches = 0;
  #unsubmittedBytes = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
    this.params = device.createBuffer({
      label: "params",
      size: this.#slots.byteLength,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
    });
  }

  /** Queues one dispatch with its encoded parameters. */
  dispatch({ pipeline, bindGroup, buffers, grid }: Dispatch, params: Uint8Array): void {
    const offset = this.#dispatches++ * PARAMS_BYTES;
    this.#slots.set(params, offset);
    this.#pass ??= this.#open().beginComputePass({ timestampWrites: this.timestamps });
    if (this.#pipeline !== pipeline) this.#pass.setPipeline(pipeline);
    this.#pipeline = pipeline;
    this.#pass.setBindGroup(0, bindGroup, [offset]);
    this.#pass.dispatchWorkgroups(...grid);
    for (const buffer of buffers) buffer.lastBatch = this.#batch;
    if (this.#dispatches === DISPATCHES_PER_BATCH) this.submit();
  }

  /** Queues a write. The caller may reuse `bytes` as soon as this returns. */
  write(target: WebGpuBuffer, byteOffset: number, bytes: Uint8Array): void {
    if (target.lastBatch === this.#batch) this.submit();
    for (let start = 0; start < bytes.byteLength; start += WRITE_CHUNK_BYTES) {
      // The types forbid shared memory, but the runtime copies from it as from any other memory.
      const chunk = bytes.subarray(start, start + WRITE_CHUNK_BYTES) as Uint8Array<ArrayBuffer>;
      this.#device.queue.writeBuffer(target.gpu, byteOffset + start, chunk);
      this.#unsubmittedBytes += chunk.byteLength;
      if (this.#unsubmittedBytes >= WRITE_CHUNK_BYTES) this.submit();
    }
  }

  /** Queues a copy between two device buffers. */
  copy(
    source: WebGpuBuffer,
    sourceOffset: number,
    target: WebGpuBuffer,
    targetOffset: number,
    byteLength: number,
  ): void {
    this.#openOutsidePass().copyBufferToBuffer(
      source.gpu,
      sourceOffset,
      target.gpu,
      targetOffset,
      byteLength,
    );
    source.lastBatch = target.lastBatch = this.#batch;
  }

  /** Queues a copy into a mappable buffer, which the caller maps after {@link submit}. */
  copyOut(source: GPUBuffer, sourceOffset: number, staging: GPUBuffer, byteLength: number): void {
    this.#openOutsidePass().copyBufferToBuffer(source, sourceOffset, staging, 0, byteLength);
  }

  /** Queues filling a buffer with zeros. */
  clear(target: WebGpuBuffer): void {
    this.#openOutsidePass().clearBuffer(target.gpu);
    target.lastBatch = this.#batch;
  }

  /** Destroys a buffer after the commands that use it are submitted, because WebGPU refuses to submit commands that use a destroyed buffer. */
  retire(buffer: WebGpuBuffer): void {
    if (buffer.lastBatch === this.#batch) this.#retired.push(buffer.gpu);
    else buffer.gpu.destroy();
  }

  /** Submits the open batch and the writes before it. */
  submit(): void {
    this.#endPass();
    if (this.#dispatches > 0) {
      this.#device.queue.writeBuffer(this.params, 0, this.#slots, 0, this.#dispatches * PARAMS_BYTES);
    }
    // An empty submission still starts the writes and frees the staging memory of finished ones.
    this.#device.queue.submit(this.#encoder ? [this.#encoder.finish()] : []);
    for (const buffer of this.#retired.splice(0)) buffer.destroy();
    this.#encoder = undefined;
    this.#dispatches = 0;
    this.#unsubmittedBytes = 0;
    this.#batch++;
  }

  #open(): GPUCommandEncoder {
    return this.#encoder ??= this.#device.createCommandEncoder();
  }

  #openOutsidePass(): GPUCommandEncoder {
    this.#endPass();
    return this.#open();
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = this.#pipeline = undefined;
  }
}

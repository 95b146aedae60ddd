/**
 * Submits work to the device in the order in which it was queued, with few submissions. Dispatches, copies
 * and clears are encoded into an open command encoder, called a batch. A batch is submitted when it is full,
 * when a caller waits for the device, or before a write to a buffer that the batch uses. Such a write must
 * submit the batch first, because WebGPU performs `writeBuffer` before all commands that are not yet
 * submitted.
 */

import { PARAMS_BYTES } from "./pipeline_cache.ts";
import type { WebGpuBuffer } from "./webgpu_buffer.ts";

/**
 * The most dispatches in a batch. The device can start with a batch while later ones are encoded, and many dispatches
 * share the cost of one submission.
 */
const DISPATCHES_PER_BATCH = 64;

/**
 * The largest number of written bytes that WebGPU may hold in staging memory. They stay there until the next
 * submission.
 */
const WRITE_CHUNK_BYTES = 64 * 2 ** 20;

/** One dispatch of a kernel. */
interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly buffers: readonly WebGpuBuffer[];
  readonly grid: readonly [x: number, y: number, z: number];
}

/** The queue of one device. */
export class SubmissionQueue {
  readonly #device: GPUDevice;
  /**
   * The uniform buffer, with one slot of parameters per dispatch of a batch. It is written when a batch is
   * submitted. WebGPU orders this write after the reads of earlier batches.
   */
  readonly params: GPUBuffer;
  /** If set, the timestamp queries that record when a new compute pass begins and ends. For benchmarks. */
  timestamps: GPUComputePassTimestampWrites | undefined;
  /** The parameters of the open batch's dispatches. */
  readonly #slots = new Uint8Array(DISPATCHES_PER_BATCH * PARAMS_BYTES);
  /** Destroyed buffers that the open batch still uses. */
  readonly #retired: GPUBuffer[] = [];
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #pipeline: GPUComputePipeline | undefined;
  /** The sequence number of the open batch. */
  #batch = 0;
  /** The number of dispatches in the open batch. */
  #dispatches = 0;
  /** The number of bytes written since the last submission. */
  #unsubmittedBytes = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
    this.params = device.createBuffer({
      label: "params",
      size: this.#slots.byteLength,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
    });
  }

  /** Queues one dispatch. `params` is the encoded parameter struct, which is copied. */
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

  /** Queues writing `bytes` to `target`. The bytes are copied at once, so the caller may reuse them. */
  write(target: WebGpuBuffer, byteOffset: number, bytes: Uint8Array): void {
    if (target.lastBatch === this.#batch) this.submit();
    for (let start = 0; start < bytes.byteLength; start += WRITE_CHUNK_BYTES) {
      // The declared type excludes shared memory, but the runtime accepts it.
      const chunk = bytes.subarray(start, start + WRITE_CHUNK_BYTES) as Uint8Array<ArrayBuffer>;
      this.#device.queue.writeBuffer(target.gpu, byteOffset + start, chunk);
      this.#unsubmittedBytes += chunk.byteLength;
      if (this.#unsubmittedBytes >= WRITE_CHUNK_BYTES) this.submit();
    }
  }

  /** Queues a copy between two buffers of the device. */
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

  /** Queues a copy to the start of a mappable buffer, which the caller maps after {@link submit}. */
  copyOut(source: GPUBuffer, sourceOffset: number, staging: GPUBuffer, byteLength: number): void {
    this.#openOutsidePass().copyBufferToBuffer(source, sourceOffset, staging, 0, byteLength);
  }

  /** Queues filling a buffer with zeros. */
  clear(target: WebGpuBuffer): void {
    this.#openOutsidePass().clearBuffer(target.gpu);
    target.lastBatch = this.#batch;
  }

  /**
   * Frees a buffer as soon as all commands that use it are submitted. WebGPU rejects a submission that uses a
   * destroyed buffer. After the submission, WebGPU itself keeps the memory until the commands are done.
   */
  retire(buffer: WebGpuBuffer): void {
    if (buffer.lastBatch === this.#batch) this.#retired.push(buffer.gpu);
    else buffer.gpu.destroy();
  }

  /** Submits the open batch and the writes before it to the device. */
  submit(): void {
    this.#endPass();
    if (this.#dispatches > 0) {
      this.#device.queue.writeBuffer(this.params, 0, this.#slots, 0, this.#dispatches * PARAMS_BYTES);
    }
    // Even an empty submission starts the pending writes and frees the staging memory of finished ones.
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

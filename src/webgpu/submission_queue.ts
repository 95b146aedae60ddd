/**
 * Keeps work in the order it was given, in few submissions. Kernels, copies and clears are encoded into one open
 * command encoder, a batch, submitted when it is full, when someone waits, or when it must be: `writeBuffer` acts
 * before any command not yet submitted, so a write to a buffer that the open batch uses submits that batch first.
 */

import type { WebGpuBuffer } from "./buffers.ts";
import { PARAMS_BYTES } from "./pipelines.ts";

/** Dispatches a batch: the device starts while later ones are encoded, and the cost of a submission is spread. */
export const DISPATCHES_PER_BATCH = 64;

/** Written bytes wait in staging memory for a submission: no more than this many at a time. */
const WRITE_CHUNK_BYTES = 64 * 2 ** 20;

/** One kernel with everything it needs. */
export interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly buffers: readonly WebGpuBuffer[];
  readonly grid: readonly [x: number, y: number, z: number];
}

/** The ordered queue of one device. */
export class CommandQueue {
  readonly #device: GPUDevice;
  /** A slot of parameters a dispatch of the open batch; written at submission, which is ordered after earlier batches' reads. */
  readonly params: GPUBuffer;
  /** Where passes that begin from now on note when they begin and end. For benches. */
  timestamps: GPUComputePassTimestampWrites | undefined;
  readonly #slots = new Uint8Array(DISPATCHES_PER_BATCH * PARAMS_BYTES);
  readonly #retired: GPUBuffer[] = [];
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #pipeline: GPUComputePipeline | undefined;
  /** The number of the open batch, and its dispatches so far. */
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

  /** Queues one kernel; `encodeParams` fills its parameter block. */
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

  /** Queues a copy of `bytes`; they may be reused at once. */
  write(target: WebGpuBuffer, byteOffset: number, bytes: Uint8Array): void {
    if (target.lastBatch === this.#batch) this.submit();
    for (let start = 0; start < bytes.byteLength; start += WRITE_CHUNK_BYTES) {
      // The types forbid shared memory, which the runtime takes and copies from like any other.
      const chunk = bytes.subarray(start, start + WRITE_CHUNK_BYTES) as Uint8Array<ArrayBuffer>;
      this.#device.queue.writeBuffer(target.gpu, byteOffset + start, chunk);
      this.#unsubmittedBytes += chunk.byteLength;
      if (this.#unsubmittedBytes >= WRITE_CHUNK_BYTES) this.submit();
    }
  }

  /** Queues a device-side copy between two buffers. */
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

  /** Queues zeroing a buffer. */
  clear(target: WebGpuBuffer): void {
    this.#openOutsidePass().clearBuffer(target.gpu);
    target.lastBatch = this.#batch;
  }

  /** Frees a buffer when the commands that use it are submitted: a submission that names a destroyed buffer is refused. */
  retire(buffer: WebGpuBuffer): void {
    if (buffer.lastBatch === this.#batch) this.#retired.push(buffer.gpu);
    else buffer.gpu.destroy();
  }

  /** Hands the open batch and the writes before it to the device. */
  submit(): void {
    this.#endPass();
    if (this.#dispatches > 0) {
      this.#device.queue.writeBuffer(this.params, 0, this.#slots, 0, this.#dispatches * PARAMS_BYTES);
    }
    // With no commands this still sends the writes on their way and frees the staging memory of finished ones.
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

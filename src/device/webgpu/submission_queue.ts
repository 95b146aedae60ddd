/**
 * Submits work to the device in the order in which it was queued, with few submissions. Dispatches, copies and clears
 * are encoded into an open command encoder, called a batch. A batch is submitted when it is full or when a caller waits
 * for the device. The bytes of a large write are put into mapped memory (`upload_ring.ts`), and the batch copies them
 * from there. A small write is passed to `writeBuffer` of WebGPU, which performs it before all commands that are not
 * yet submitted. So the open batch is submitted first if it uses the buffer that is written.
 */

import { PARAMS_BYTES } from "./pipeline_cache.ts";
import { UploadRing } from "./upload_ring.ts";
import type { WebGpuBuffer } from "./webgpu_buffer.ts";

/** The most dispatches in a batch, which share the cost of one submission. */
const DISPATCHES_PER_BATCH = 256;

/** The most dispatches in the first batch after a wait. The idle device runs it while the next batch is encoded. */
const DISPATCHES_IN_FIRST_BATCH = 64;

/** The number of batches whose parameters fit in the uniform buffer. */
const PARAMS_REGIONS = 4;

const REGION_BYTES = DISPATCHES_PER_BATCH * PARAMS_BYTES;

/** Writes of at least this many bytes are put into mapped memory. */
const LEAST_STAGED_BYTES = 64 * 2 ** 10;

/** The most bytes that `writeBuffer` of WebGPU may hold in staging memory until the next submission. */
const WRITE_CHUNK_BYTES = 64 * 2 ** 20;

interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly buffers: readonly WebGpuBuffer[];
  readonly grid: readonly [x: number, y: number, z: number];
}

export class SubmissionQueue {
  readonly uploads: UploadRing;
  /** A ring of regions, each with the parameters of one batch. A region is written when its batch is submitted. */
  readonly params: GPUBuffer;
  /** If set, the timestamp queries that record when a new compute pass begins and ends. For benchmarks. */
  timestamps: GPUComputePassTimestampWrites | undefined;
  /** The parameters of the open batch's dispatches. */
  readonly #slots = new Uint8Array(REGION_BYTES);
  /** Destroyed buffers that the open batch still uses. */
  readonly #retired: GPUBuffer[] = [];
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #pipeline: GPUComputePipeline | undefined;
  #batch = 0;
  #dispatches = 0;
  #batchSize = DISPATCHES_IN_FIRST_BATCH;
  /** The number of bytes passed to `writeBuffer` since the last submission. */
  #unsubmittedBytes = 0;

  constructor(private readonly device: GPUDevice, uploadBytes: number) {
    this.uploads = new UploadRing(device, uploadBytes);
    this.params = device.createBuffer({
      label: "params",
      size: PARAMS_REGIONS * REGION_BYTES,
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
    this.#pass.setBindGroup(0, bindGroup, [this.#region + offset]);
    this.#pass.dispatchWorkgroups(...grid);
    for (const buffer of buffers) buffer.lastBatch = this.#batch;
    if (this.#dispatches === this.#batchSize) {
      this.submit();
      this.#batchSize = DISPATCHES_PER_BATCH;
    }
  }

  /** Queues writing `bytes` to `target`. The bytes are copied at once, so the caller may reuse them. */
  write(target: WebGpuBuffer, byteOffset: number, bytes: Uint8Array): void {
    const staged = bytes.byteLength < LEAST_STAGED_BYTES ? 0 : this.#writeStaged(target, byteOffset, bytes);
    if (staged < bytes.byteLength) this.#writeUnstaged(target, byteOffset + staged, bytes.subarray(staged));
  }

  /** Writes through mapped memory. Returns the number of bytes for which there was such memory. */
  #writeStaged(target: WebGpuBuffer, byteOffset: number, bytes: Uint8Array): number {
    let done = 0;
    while (done < bytes.byteLength) {
      const rest = bytes.subarray(done);
      // The device starts to copy the bytes of earlier writes while this one is put into the next buffer.
      if (!this.uploads.fitsOpen(rest.byteLength)) this.submit();
      const staged = this.uploads.put(rest);
      if (!staged) break;
      this.#openOutsidePass().copyBufferToBuffer(
        staged.gpu,
        staged.byteOffset,
        target.gpu,
        byteOffset + done,
        staged.byteLength,
      );
      target.lastBatch = this.#batch;
      done += staged.byteLength;
    }
    return done;
  }

  /** Writes by `writeBuffer`, for few bytes or if all mapped memory is in use. */
  #writeUnstaged(target: WebGpuBuffer, byteOffset: number, bytes: Uint8Array): void {
    if (target.lastBatch === this.#batch) this.submit();
    for (let start = 0; start < bytes.byteLength; start += WRITE_CHUNK_BYTES) {
      // The declared type excludes shared memory, but the runtime accepts it.
      const chunk = bytes.subarray(start, start + WRITE_CHUNK_BYTES) as Uint8Array<ArrayBuffer>;
      this.device.queue.writeBuffer(target.gpu, byteOffset + start, chunk);
      this.#unsubmittedBytes += chunk.byteLength;
      if (this.#unsubmittedBytes >= WRITE_CHUNK_BYTES) this.submit();
    }
  }

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

  clear(target: WebGpuBuffer): void {
    this.#openOutsidePass().clearBuffer(target.gpu);
    target.lastBatch = this.#batch;
  }

  /**
   * Frees a buffer as soon as all commands that use it are submitted. WebGPU rejects a submission that uses a destroyed
   * buffer. After the submission, WebGPU itself keeps the memory until the commands are done.
   */
  retire(buffer: WebGpuBuffer): void {
    if (buffer.lastBatch === this.#batch) this.#retired.push(buffer.gpu);
    else buffer.gpu.destroy();
  }

  /** Submits the open batch before the caller waits. The next batch is small, so that an idle device gets work soon. */
  submitBeforeWait(): void {
    this.submit();
    this.#batchSize = DISPATCHES_IN_FIRST_BATCH;
  }

  /** Submits the open batch and the writes before it to the device. */
  submit(): void {
    this.#endPass();
    this.uploads.prepareSubmission();
    if (this.#dispatches > 0) {
      const bytes = this.#dispatches * PARAMS_BYTES;
      this.device.queue.writeBuffer(this.params, this.#region, this.#slots, 0, bytes);
    }
    // Even an empty submission starts the pending writes and frees the staging memory of finished ones.
    this.device.queue.submit(this.#encoder ? [this.#encoder.finish()] : []);
    for (const buffer of this.#retired.splice(0)) buffer.destroy();
    this.#encoder = undefined;
    this.#dispatches = 0;
    this.#unsubmittedBytes = 0;
    this.#batch++;
  }

  get #region(): number {
    return (this.#batch % PARAMS_REGIONS) * REGION_BYTES;
  }

  #open(): GPUCommandEncoder {
    return this.#encoder ??= this.device.createCommandEncoder();
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

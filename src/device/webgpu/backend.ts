/**
 * The WebGPU backend. It runs on every adapter that the runtime offers, from the GPU of a data centre to Mesa's
 * emulation of a GPU on the CPU. This file checks the arguments of calls and maintains the counters.
 *
 * In Deno, `read` and `finish` block the event loop of the calling thread until the device is done. A server therefore
 * runs this backend in a worker (`worker.ts`).
 */

import {
  type Adapter,
  type Backend,
  type DeviceBuffer,
  newCounters,
  OutOfDeviceMemoryError,
} from "../backend.ts";
import { checkByteRange, resolveBindings, writeParams } from "../call_checks.ts";
import type { Grid, Kernel } from "../kernels/kernel.ts";
import { BindGroupCache } from "./bind_group_cache.ts";
import { openDevice, requestAdapter } from "./device.ts";
import { DeviceFaults } from "./device_faults.ts";
import { matrixTuning } from "./runtimes/matrix_units.ts";
import { PARAMS_BYTES, PipelineCache, warmUpPipelines } from "./pipeline_cache.ts";
import { ReadBack } from "./read_back.ts";
import { SubmissionQueue } from "./submission_queue.ts";
import { timePass } from "./time_pass.ts";
import type { WebGpuOptions } from "./webgpu_options.ts";
import { asWebGpuBuffer, WebGpuBuffer } from "./webgpu_buffer.ts";

/**
 * The default size of the staging memory of writes. A layer of 12288×12288 weights in 16 bits, with its packed
 * statistics, waits at most once for a GPU. An emulated GPU shares the memory of the CPU.
 */
const UPLOAD_BYTES = { hardware: 512 * 2 ** 20, software: 128 * 2 ** 20 } as const;

/**
 * Opens a device and returns a backend for it.
 * @throws {NoAdapterError} if the machine has no such adapter
 * @throws {Error} if a kernel of `warm` does not compile, or if `runtime` is not installed
 */
export async function createWebGpuBackend(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
  const { device, adapter } = await openDevice(
    options.adapter ?? await requestAdapter(options.forceSoftware, options.runtime),
    options.runtime,
  );
  const backend = new WebGpuBackend(device, adapter, options);
  if (options.warm) await backend.warm(options.warm);
  return backend;
}

/** A {@link Backend} on one WebGPU device, created by {@link createWebGpuBackend}. */
export class WebGpuBackend implements Backend {
  readonly kind = "webgpu";
  readonly maxBufferBytes: number;
  readonly counters = newCounters();
  /** The largest number of workgroups along one axis of a dispatch. */
  readonly #maxGridExtent: number;
  readonly #faults: DeviceFaults;
  readonly #pipelines: PipelineCache;
  readonly #queue: SubmissionQueue;
  readonly #bindGroups: BindGroupCache;
  readonly #readBack: ReadBack;
  /** The parameters of a dispatch as the uniform struct of its shader. Each dispatch overwrites the words. */
  readonly #params = new Uint32Array(PARAMS_BYTES / 4);
  readonly #floatParams = new Float32Array(this.#params.buffer);

  constructor(
    /** The WebGPU device. Public for benchmarks and for tests. */
    readonly device: GPUDevice,
    readonly adapter: Adapter,
    options: WebGpuOptions,
  ) {
    const { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupsPerDimension } = device.limits;
    const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
    this.maxBufferBytes = limit - limit % 16; // `WebGpuBuffer` rounds sizes up to a multiple of 16.
    this.#maxGridExtent = maxComputeWorkgroupsPerDimension;
    this.#faults = new DeviceFaults(device);
    const tiling = options.tiling ?? (adapter.software ? "software" : "discrete");
    const tuning = {
      ...matrixTuning(device as { features: { has(feature: string): boolean } }),
      ...options.tuning,
    };
    this.#pipelines = new PipelineCache(device, this.#faults, tiling, tuning);
    this.#queue = new SubmissionQueue(
      device,
      options.uploadBytes ?? UPLOAD_BYTES[adapter.software ? "software" : "hardware"],
    );
    this.#bindGroups = new BindGroupCache(device, this.#queue.params);
    this.#readBack = new ReadBack(device, this.#queue, this.#faults, options.readChunkBytes);
  }

  createBuffer(label: string, byteLength: number): DeviceBuffer {
    this.#faults.assertAlive();
    if (!Number.isSafeInteger(byteLength) || byteLength < 0) {
      throw new RangeError(`buffer ${label}: byte length must be a whole number, got ${byteLength}`);
    }
    if (byteLength > this.maxBufferBytes) {
      throw new OutOfDeviceMemoryError(
        `buffer ${label}: ${byteLength} bytes are over the limit of ${this.maxBufferBytes} bytes per buffer on ` +
          this.adapter.name,
      );
    }
    const size = Math.max(4, Math.ceil(byteLength / 4) * 4); // WebGPU cannot bind an empty buffer.
    this.device.pushErrorScope("out-of-memory");
    const buffer = new WebGpuBuffer(this.device, label, size, (destroyed) => this.#destroy(destroyed));
    const live = this.counters.bytesLive += size;
    this.counters.bytesPeak = Math.max(this.counters.bytesPeak, live);
    this.#faults.closeScope(this.device, () =>
      new OutOfDeviceMemoryError(
        `buffer ${label}: ${this.adapter.name} has no room for ${size} bytes beside the ${
          live - size
        } in use ` +
          `(the limit is ${this.maxBufferBytes} bytes per buffer)`,
      ));
    return buffer;
  }

  #destroy(buffer: WebGpuBuffer): void {
    this.#queue.retire(buffer);
    this.#bindGroups.evict(buffer);
    this.counters.bytesLive -= buffer.byteLength;
  }

  /**
   * See {@link Backend.write}. The bytes stay in staging memory until the device has copied them. A caller that writes
   * many gigabytes should await `stagingRoom` from time to time, to bound that memory.
   */
  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void {
    this.#faults.assertAlive();
    const buffer = asWebGpuBuffer(target, "write to");
    checkByteRange("write to", buffer, byteOffset, bytes.byteLength);
    this.#queue.write(buffer, byteOffset, bytes);
    this.counters.bytesWritten += bytes.byteLength;
  }

  copy(
    source: DeviceBuffer,
    sourceOffset: number,
    target: DeviceBuffer,
    targetOffset: number,
    byteLength: number,
  ): void {
    this.#faults.assertAlive();
    const from = asWebGpuBuffer(source, "copy from"), to = asWebGpuBuffer(target, "copy to");
    checkByteRange("copy from", from, sourceOffset, byteLength);
    checkByteRange("copy to", to, targetOffset, byteLength);
    if (from === to) {
      throw new TypeError(`copy within ${from.label}: source and target must be different buffers`);
    }
    if (byteLength > 0) this.#queue.copy(from, sourceOffset, to, targetOffset, byteLength);
  }

  clear(target: DeviceBuffer): void {
    this.#faults.assertAlive();
    this.#queue.clear(asWebGpuBuffer(target, "clear"));
  }

  /**
   * See {@link Backend.dispatch}.
   * @throws {TypeError} if a binding or parameter is missing or not declared, or a written buffer is bound twice
   * @throws {RangeError} if the grid or a parameter is out of range
   * @throws {Error} if the compiler has rejected the kernel
   */
  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void {
    this.#faults.assertAlive();
    const bound = resolveBindings(kernel, buffers, asWebGpuBuffer);
    const length = writeParams(kernel, params, this.#params, this.#floatParams, 0);
    const { shader, layout, pipeline } = this.#pipelines.get(kernel, params);
    const grid = shader.grid(params);
    this.#checkGrid(kernel, grid);
    if (grid.includes(0)) return;
    const bindGroup = this.#bindGroups.get(layout, bound);
    const encoded = new Uint8Array(this.#params.buffer, 0, 4 * length);
    this.#queue.dispatch({ pipeline, bindGroup, buffers: bound, grid }, encoded);
    this.counters.dispatches++;
  }

  #checkGrid(kernel: Kernel, grid: Grid): void {
    for (const extent of grid) {
      if (!Number.isInteger(extent) || extent < 0 || extent > this.#maxGridExtent) {
        throw new RangeError(
          `dispatch of ${kernel.name}: grid ${
            grid.join("×")
          } must consist of integers from 0 to ${this.#maxGridExtent}`,
        );
      }
    }
  }

  /** See {@link Backend.read}. While more than 64 MiB are read (`readChunkBytes`), `source` must not be written. */
  async read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    this.#faults.assertAlive();
    const buffer = asWebGpuBuffer(source, "read from");
    checkByteRange("read from", buffer, byteOffset, byteLength);
    if (byteLength === 0) {
      await this.finish();
      return new Uint8Array(0);
    }
    const bytes = await this.#readBack.read(buffer, byteOffset, byteLength);
    this.counters.bytesRead += byteLength;
    return bytes;
  }

  async finish(): Promise<void> {
    this.#faults.assertAlive();
    await this.#readBack.wait();
  }

  /** See {@link Backend.stagingRoom}. Waits only if all staging memory of writes is in use. */
  async stagingRoom(byteLength: number): Promise<void> {
    this.#faults.assertAlive();
    const { uploads } = this.#queue;
    if (uploads.hasRoomFor(byteLength)) return;
    this.#queue.submitBeforeWait();
    uploads.reclaim();
    if (uploads.hasRoomFor(byteLength)) return;
    const { nextMapped } = uploads;
    if (nextMapped) await this.#faults.settle(nextMapped);
    else await this.finish();
  }

  /** The size of the staging memory of writes, in bytes. It is not part of `counters.bytesLive`. */
  get stagingBytes(): number {
    return this.#queue.uploads.byteLength;
  }

  /**
   * Compiles kernels before they are needed, and creates the staging buffer that the first wait for the device needs.
   * @throws {Error} naming the first kernel that does not compile, with the compiler's message and source line
   */
  async warm(kernels: readonly Kernel[]): Promise<void> {
    this.#faults.assertAlive();
    await this.#pipelines.warm(kernels);
    warmUpPipelines(
      this.device,
      kernels.flatMap((kernel) => this.#pipelines.all(kernel)),
      this.#queue.params,
    );
    await this.finish();
  }

  /**
   * Runs the dispatches that `work` queues, at most one batch (`submission_queue.ts`), in one compute pass. Returns the
   * time that the device took for the pass, in seconds.
   * @throws {TypeError} if the device cannot measure times
   */
  async timePass(work: () => void): Promise<number> {
    this.#faults.assertAlive();
    return await this.#faults.settle(timePass(this.device, this.#queue, work));
  }

  async dispose(): Promise<void> {
    this.#faults.dispose();
    this.#queue.uploads.destroy();
    this.device.destroy();
    await this.device.lost;
  }
}

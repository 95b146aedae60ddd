/**
 * The WebGPU backend. It runs on every adapter that the runtime offers, from a data centre GPU to Mesa's emulation on the CPU. This
 * file checks the arguments of each call and counts the work. Compiling, ordering, reading back and reporting errors are in the other
 * files of this folder.
 *
 * Deno waits for the device on the calling thread, so `read` and `finish` block its event loop until the work is done. A server
 * therefore runs this backend in a worker.
 */

import {
  type Adapter,
  type Backend,
  type BackendCounters,
  type DeviceBuffer,
  OutOfDeviceMemoryError,
} from "../backend/backend.ts";
import type { Grid, Kernel } from "../kernels/kernel.ts";
import { BindGroupCache } from "./bind_group_cache.ts";
import { asWebGpuBuffer, checkRange, WebGpuBuffer } from "./webgpu_buffer.ts";
import { openDevice, requestAdapter } from "./device.ts";
import { DeviceFaults } from "./device_faults.ts";
import { assertUnderLoopLimit } from "./loop_limit.ts";
import { ParamsEncoder, refuseUnknown } from "./params_encoder.ts";
import { timePass } from "./time_pass.ts";
import { PipelineCache } from "./pipeline_cache.ts";
import { SubmissionQueue } from "./submission_queue.ts";
import { ReadBack } from "./read_back.ts";
import type { AdapterKey, Tiling, Tuning } from "./tuning.ts";
import { warmUpPipelines } from "./warm_up_pipelines.ts";

export { hasHardwareAdapter, NoAdapterError } from "./device.ts";
export type { Tiling, Tuning } from "./tuning.ts";

/** Options of {@link createWebGpuBackend}. */
export interface WebGpuOptions {
  /** An adapter that has not opened a device yet. Defaults to the fastest adapter of the machine. */
  readonly adapter?: GPUAdapter;
  /** Requests an adapter that is emulated on the CPU. */
  readonly forceSoftware?: boolean;
  /** Which of a kernel's two shaders to use. Defaults to the one for the adapter's kind. For tests and benches. */
  readonly tiling?: Tiling;
  /** Returns the shader variants to use on an adapter instead of the defaults for its kind. `tuningFor` returns measured ones. */
  readonly tuning?: (adapter: AdapterKey) => Tuning | undefined;
  /** Kernels that are compiled before the backend is returned, so that the first request does not wait for a compiler. */
  readonly warm?: readonly Kernel[];
  /** Bytes per read-back, a multiple of 4. Defaults to 64 MiB. For tests. */
  readonly readChunkBytes?: number;
}

/**
 * Opens a device.
 * @throws {NoAdapterError} if the machine has no adapter
 * @throws {Error} if a kernel of `warm` does not compile
 */
export async function createWebGpuBackend(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
  const { device, adapter } = await openDevice(
    options.adapter ?? await requestAdapter(options.forceSoftware),
  );
  const backend = new WebGpuBackend(device, adapter, options);
  if (options.warm) await backend.warm(options.warm);
  return backend;
}

/** A {@link Backend} on one WebGPU device. Use {@link createWebGpuBackend} to create it. */
export class WebGpuBackend implements Backend {
  readonly kind = "webgpu";
  readonly adapter: Adapter;
  readonly maxBufferBytes: number;
  readonly counters: BackendCounters = {
    dispatches: 0,
    bytesWritten: 0,
    bytesRead: 0,
    bytesLive: 0,
    bytesPeak: 0,
  };
  /** The device, for benches and for tests that lose it. */
  readonly device: GPUDevice;
  readonly #maxGrid: number;
  readonly #faults: DeviceFaults;
  readonly #pipelines: PipelineCache;
  readonly #queue: SubmissionQueue;
  readonly #bindGroups: BindGroupCache;
  readonly #readBack: ReadBack;
  readonly #params = new ParamsEncoder();

  constructor(device: GPUDevice, adapter: Adapter, options: WebGpuOptions) {
    const { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupsPerDimension } = device.limits;
    const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
    this.device = device;
    this.adapter = adapter;
    this.maxBufferBytes = limit - limit % 16; // `WebGpuBuffer` allocates multiples of 16 bytes
    this.#maxGrid = maxComputeWorkgroupsPerDimension;
    this.#faults = new DeviceFaults(device);
    const tiling = options.tiling ?? (adapter.software ? "software" : "discrete");
    this.#pipelines = new PipelineCache(device, this.#faults, tiling, options.tuning?.(device.adapterInfo));
    this.#queue = new SubmissionQueue(device);
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
        `buffer ${label}: ${byteLength} bytes are over the ${this.maxBufferBytes} a buffer can have on ` +
          this.adapter.name,
      );
    }
    const size = Math.max(4, Math.ceil(byteLength / 4) * 4); // an empty buffer cannot be bound
    this.device.pushErrorScope("out-of-memory");
    const buffer = new WebGpuBuffer(this.device, label, size, (destroyed) => this.#destroy(destroyed));
    const live = this.counters.bytesLive += size;
    this.counters.bytesPeak = Math.max(this.counters.bytesPeak, live);
    this.#faults.closeScope(this.device, () =>
      new OutOfDeviceMemoryError(
        `buffer ${label}: no room for ${size} bytes on ${this.adapter.name}, with ${live - size} in use ` +
          `(a buffer can have ${this.maxBufferBytes})`,
      ));
    return buffer;
  }

  #destroy(buffer: WebGpuBuffer): void {
    this.#queue.retire(buffer);
    this.#bindGroups.evict(buffer);
    this.counters.bytesLive -= buffer.byteLength;
  }

  /**
   * See {@link Backend.write}. The bytes stay in staging memory until the device has taken them, so a caller that writes many
   * gigabytes should await `finish` now and then.
   */
  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void {
    this.#faults.assertAlive();
    const buffer = asWebGpuBuffer(target, "write to");
    checkRange("write to", buffer, byteOffset, bytes.byteLength);
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
    checkRange("copy from", from, sourceOffset, byteLength);
    checkRange("copy to", to, targetOffset, byteLength);
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
   * @throws {TypeError} if a binding or parameter is missing or unknown, or if a buffer is bound twice and written
   * @throws {RangeError} if the grid or a parameter is out of range, or if a software adapter might end the kernel's loops early
   * @throws {Error} if an earlier attempt to compile the kernel failed
   */
  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void {
    this.#faults.assertAlive();
    const bound = resolveBindings(kernel, buffers);
    const encoded = this.#params.encode(kernel, params);
    const { shader, layout, pipeline } = this.#pipelines.get(kernel);
    const grid = shader.grid(params);
    this.#checkGrid(kernel, grid);
    if (this.adapter.software) assertUnderLoopLimit(kernel, shader, params);
    if (grid.includes(0)) return;
    const bindGroup = this.#bindGroups.get(layout, bound);
    this.#queue.dispatch({ pipeline, bindGroup, buffers: bound, grid }, encoded);
    this.counters.dispatches++;
  }

  #checkGrid(kernel: Kernel, grid: Grid): void {
    for (const extent of grid) {
      if (!Number.isInteger(extent) || extent < 0 || extent > this.#maxGrid) {
        throw new RangeError(
          `dispatch of ${kernel.name}: grid ${grid.join("×")} must be whole numbers up to ${this.#maxGrid}`,
        );
      }
    }
  }

  /** See {@link Backend.read}. A range over 64 MiB is read in pieces, so `source` must not be written before the promise resolves. */
  async read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    this.#faults.assertAlive();
    const buffer = asWebGpuBuffer(source, "read from");
    checkRange("read from", buffer, byteOffset, byteLength);
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

  /**
   * Compiles kernels before they are needed, and prepares the first wait for the device.
   * @throws {Error} if a kernel does not compile; the message has the kernel's name and the compiler's message with the source line
   */
  async warm(kernels: readonly Kernel[]): Promise<void> {
    this.#faults.assertAlive();
    await this.#pipelines.warm(kernels);
    warmUpPipelines(this.device, kernels.map((kernel) => this.#pipelines.get(kernel)), this.#queue.params);
    await this.finish();
  }

  /**
   * Runs the dispatches of `work`, at most one batch, in one pass, and returns the seconds that the device took.
   * @throws {TypeError} if the device has no timestamp queries
   */
  async timePass(work: () => void): Promise<number> {
    this.#faults.assertAlive();
    return await this.#faults.settle(timePass(this.device, this.#queue, work));
  }

  async dispose(): Promise<void> {
    this.#faults.dispose();
    this.device.destroy();
    await this.device.lost;
  }
}

/** Returns the buffers in binding order. @throws {TypeError} naming the kernel and the binding that is missing, unknown or written twice */
function resolveBindings(kernel: Kernel, given: Readonly<Record<string, DeviceBuffer>>): WebGpuBuffer[] {
  const bound: WebGpuBuffer[] = [];
  const names = Object.keys(kernel.bindings);
  for (const name of names) {
    if (!given[name]) throw new TypeError(`dispatch of ${kernel.name}: binding ${name} is missing`);
    const buffer = asWebGpuBuffer(given[name], `dispatch of ${kernel.name}: binding ${name}`);
    const other = names[bound.indexOf(buffer)];
    if (other && (kernel.bindings[name] === "read_write" || kernel.bindings[other] === "read_write")) {
      throw new TypeError(
        `dispatch of ${kernel.name}: ${other} and ${name} are both ${buffer.label}, and one is written`,
      );
    }
    bound.push(buffer);
  }
  refuseUnknown(kernel, "binding", given, kernel.bindings, bound.length);
  return bound;
}

/**
 * The WebGPU backend: any adapter the runtime offers, from a data centre GPU to Mesa's emulation on the CPU. It checks what
 * a call is given and keeps the counters; compiling, ordering, reading back and failing are the files beside it.
 *
 * Deno waits for the device on the calling thread: `read` and `finish` hold up its event loop until the work is
 * done. A server runs this backend in a worker.
 */

import {
  type Adapter,
  type Backend,
  type BackendCounters,
  type DeviceBuffer,
  OutOfDeviceMemoryError,
} from "../backend/backend.ts";
import type { Grid, Kernel } from "../kernels/kernel.ts";
import { BindGroupCache } from "./bind_groups.ts";
import { asWebGpuBuffer, checkRange, WebGpuBuffer } from "./buffers.ts";
import { openDevice, requestAdapter } from "./device.ts";
import { DeviceFaults } from "./faults.ts";
import { assertUnderLoopLimit } from "./loop_limit.ts";
import { ParamsEncoder, refuseUnknown } from "./params.ts";
import { timePass } from "./pass_timer.ts";
import { PipelineCache } from "./pipelines.ts";
import { CommandQueue } from "./queue.ts";
import { ReadBack } from "./read_back.ts";
import type { AdapterKey, Tiling, Tuning } from "./tuning.ts";
import { dispatchNothing } from "./warm_up.ts";

export { hasHardwareAdapter, NoAdapterError } from "./device.ts";
export type { Tiling, Tuning } from "./tuning.ts";

/** What {@link createWebGpuBackend} runs on. */
export interface WebGpuOptions {
  /** An adapter that has opened no device yet; by default the fastest there is. */
  readonly adapter?: GPUAdapter;
  /** Ask for an adapter emulated on the CPU. */
  readonly forceSoftware?: boolean;
  /** Which of a kernel's two shaders; by default the one meant for the adapter. For tests and benches. */
  readonly tiling?: Tiling;
  /** The variants to use on an adapter in place of those meant for its kind; `tuningFor` gives what was measured. */
  readonly tuning?: (adapter: AdapterKey) => Tuning | undefined;
  /** Kernels to compile before the backend is handed out, so that the first work it is given pays for none. */
  readonly warm?: readonly Kernel[];
  /** Bytes read back at a time, a multiple of 4; 64 MiB by default. For tests. */
  readonly readChunkBytes?: number;
}

/**
 * Opens a device.
 * @throws {NoAdapterError} there is none; {Error} a kernel of `warm` does not compile
 */
export async function createWebGpuBackend(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
  const { device, adapter } = await openDevice(
    options.adapter ?? await requestAdapter(options.forceSoftware),
  );
  const backend = new WebGpuBackend(device, adapter, options);
  if (options.warm) await backend.warm(options.warm);
  return backend;
}

/** A {@link Backend} over one WebGPU device. Made by {@link createWebGpuBackend}. */
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
  /** For benches and for tests of its loss. */
  readonly device: GPUDevice;
  readonly #maxGrid: number;
  readonly #faults: DeviceFaults;
  readonly #pipelines: PipelineCache;
  readonly #queue: CommandQueue;
  readonly #bindGroups: BindGroupCache;
  readonly #readBack: ReadBack;
  readonly #params = new ParamsEncoder();

  constructor(device: GPUDevice, adapter: Adapter, options: WebGpuOptions) {
    const { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupsPerDimension } = device.limits;
    const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
    this.device = device;
    this.adapter = adapter;
    this.maxBufferBytes = limit - limit % 16; // see the size in `WebGpuBuffer`
    this.#maxGrid = maxComputeWorkgroupsPerDimension;
    this.#faults = new DeviceFaults(device);
    const tiling = options.tiling ?? (adapter.software ? "software" : "discrete");
    this.#pipelines = new PipelineCache(device, this.#faults, tiling, options.tuning?.(device.adapterInfo));
    this.#queue = new CommandQueue(device);
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
   * See {@link Backend.write}. The bytes wait in staging memory until the device has taken them: who writes many
   * gigabytes awaits `finish` now and then.
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
   * @throws {TypeError} a binding or parameter is missing or unknown, or a buffer is bound twice and written;
   *   {RangeError} the grid or a parameter is out of range, or a software adapter might end the kernel's loops early;
   *   {Error} the kernel is known not to compile
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

  /** See {@link Backend.read}. Over 64 MiB, `source` must not be written before it resolves. */
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
   * Compiles kernels before they are needed, and readies what the first wait for the device needs.
   * @throws {Error} the first that does not compile: its name and the compiler's message with the source line
   */
  async warm(kernels: readonly Kernel[]): Promise<void> {
    this.#faults.assertAlive();
    await this.#pipelines.warm(kernels);
    dispatchNothing(this.device, kernels.map((kernel) => this.#pipelines.get(kernel)), this.#queue.params);
    await this.finish();
  }

  /**
   * Runs what `work` dispatches, at most a batch, in one pass and tells how long the device took for it, in seconds.
   * @throws {TypeError} the device has no timestamps
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

/** The buffers in binding order. @throws {TypeError} naming the kernel and the binding at fault */
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

/**
 * The `cpu` backend: kernels in WebAssembly SIMD over one linear memory, run by a pool of threads. Buffers, checks and the
 * order between host copies and queued commands are here; how commands are run is an `Executor`'s business. The calling
 * thread only encodes: it never waits for a kernel, unless it has to run them itself (`threads: 0`).
 */

import {
  type Adapter,
  type Backend,
  type BackendCounters,
  type DeviceBuffer,
  OutOfRoomError,
} from "../backend/backend.ts";
import type { Kernel } from "../kernels/kernel.ts";
import type { Executor } from "./executor.ts";
import { DECLARED_PAGES, Heap } from "./heap.ts";
import { createInlineExecutor } from "./inline.ts";
import { checkNames, KernelTable } from "./kernel_table.ts";
import { instantiate, kernelNames, loadModule } from "./module.ts";
import { createThreadPool } from "./pool.ts";
import { MAX_ARGS, RING_WORDS } from "./ring.ts";
import { pairsLanes } from "./wide.ts";

/** Half of what wasm32 addresses: an operand this large still leaves room for the others. */
const MAX_BUFFER_BYTES = 2 ** 31;

/** What {@link createCpuBackend} can be told. */
export interface CpuBackendOptions {
  /** Worker threads. Default: one a core. 0: kernels run on the calling thread, which then blocks while they do. */
  readonly threads?: number;
  /** The compiled module, for hosts that may not compile one: built for a plain memory where `threads` is 0. */
  readonly module?: WebAssembly.Module;
}

/**
 * Makes a backend with threads and a memory of its own. Dispose of it: its threads keep the process alive.
 * @throws {RangeError} on a thread count that is not a whole number ≥ 0
 * @throws {Error} when the module was not built or a thread does not start
 */
export async function createCpuBackend(options: CpuBackendOptions = {}): Promise<Backend> {
  const { threads = navigator.hardwareConcurrency } = options;
  if (!Number.isInteger(threads) || threads < 0) {
    throw new RangeError(`threads of the cpu backend: needs a whole number, got ${threads}`);
  }
  const module = options.module ?? await loadModule(threads > 0);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: DECLARED_PAGES, shared: threads > 0 });
  const kernels = instantiate(module, memory);
  const names = kernelNames(module);
  const heap = new Heap(memory, kernels.heapBase);
  const reserve = (bytes: number) => {
    const address = heap.allocate(bytes);
    if (address === undefined) {
      throw new OutOfRoomError(`the cpu backend's ${threads} threads need more memory than there is`);
    }
    return address;
  };
  const parts = { module, memory, kernels, names };
  const executor = threads === 0
    ? createInlineExecutor({ ...parts, args: reserve(4 * MAX_ARGS), scratch: reserve(kernels.scratchBytes) })
    : await createThreadPool({
      ...parts,
      ring: reserve(4 * RING_WORDS),
      scratches: Array.from({ length: threads }, () => reserve(kernels.scratchBytes)),
    });
  return new CpuBackend(executor, heap, new KernelTable(names));
}

/** A block of the heap. */
class CpuBuffer implements DeviceBuffer {
  readonly label: string;
  readonly byteLength: number;
  readonly owner: CpuBackend;
  readonly address: number;
  /** Commands from this position on do not use the buffer. */
  usedUntil = 0;
  destroyed = false;

  constructor(owner: CpuBackend, label: string, address: number, byteLength: number) {
    this.owner = owner;
    this.label = label;
    this.address = address;
    this.byteLength = byteLength;
  }

  destroy(): void {
    if (!this.destroyed) this.owner.release(this);
    this.destroyed = true;
  }
}

class CpuBackend implements Backend {
  readonly kind = "cpu";
  readonly adapter: Adapter;
  readonly maxBufferBytes = MAX_BUFFER_BYTES;
  readonly counters: BackendCounters = {
    dispatches: 0,
    bytesWritten: 0,
    bytesRead: 0,
    bytesLive: 0,
    bytesPeak: 0,
  };
  readonly #executor: Executor;
  readonly #heap: Heap;
  readonly #table: KernelTable;
  readonly #copyBytes: number;
  readonly #zeroBytes: number;

  constructor(executor: Executor, heap: Heap, table: KernelTable) {
    const { threads } = executor;
    this.adapter = {
      name: `WebAssembly SIMD${pairsLanes() ? " in pairs" : ""}, ${
        threads === 0 ? "on the calling thread" : threads === 1 ? "1 thread" : `${threads} threads`
      }`,
      software: false,
    };
    this.#executor = executor;
    this.#heap = heap;
    this.#table = table;
    this.#copyBytes = table.index("copy_bytes");
    this.#zeroBytes = table.index("zero_bytes");
  }

  createBuffer(label: string, byteLength: number): DeviceBuffer {
    const bytes = Math.ceil(byteLength / 4) * 4;
    const limit = this.maxBufferBytes;
    if (!(bytes >= 0 && bytes <= limit)) {
      throw new OutOfRoomError(
        `buffer ${label}: ${byteLength} bytes are over the cpu backend's limit of ${limit}`,
      );
    }
    const buffer = new CpuBuffer(this, label, this.#allocate(label, bytes), bytes);
    const counters = this.counters;
    counters.bytesLive += bytes;
    counters.bytesPeak = Math.max(counters.bytesPeak, counters.bytesLive);
    return buffer;
  }

  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void {
    const buffer = this.#own(target);
    checkRange(buffer, byteOffset, bytes.byteLength);
    this.counters.bytesWritten += bytes.byteLength;
    if (!this.#inUse(buffer)) return this.#heap.write(buffer.address + byteOffset, bytes);
    const staging = this.#allocate(`staging of ${buffer.label}`, bytes.byteLength);
    this.#heap.write(staging, bytes);
    this.#push(this.#copyBytes, staging, buffer.address + byteOffset, bytes.byteLength);
    buffer.usedUntil = this.#executor.queued;
    this.#heap.retire(staging, this.#executor.queued);
  }

  copy(
    source: DeviceBuffer,
    sourceOffset: number,
    target: DeviceBuffer,
    targetOffset: number,
    byteLength: number,
  ): void {
    const from = this.#own(source), to = this.#own(target);
    checkRange(from, sourceOffset, byteLength);
    checkRange(to, targetOffset, byteLength);
    if (from === to && Math.abs(sourceOffset - targetOffset) < byteLength) {
      throw new RangeError(`copy within buffer ${from.label}: the ranges overlap`);
    }
    this.#push(this.#copyBytes, from.address + sourceOffset, to.address + targetOffset, byteLength);
    from.usedUntil = to.usedUntil = this.#executor.queued;
  }

  clear(target: DeviceBuffer): void {
    const buffer = this.#own(target);
    this.#push(this.#zeroBytes, buffer.address, buffer.byteLength);
    buffer.usedUntil = this.#executor.queued;
  }

  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void {
    const table = this.#table, bound = table.bind(kernel), { bindings } = bound;
    const given: Readonly<Record<string, DeviceBuffer>> = buffers;
    checkNames(bound.name, "binding", bindings, given);
    bindings.forEach(([name, writes], i) => {
      const buffer = this.#own(given[name]);
      if (writes) checkAlone(bound.name, name, given);
      table.args[i] = buffer.address;
    });
    table.setParams(bound, params);
    this.#executor.push(bound.index, table.args, bindings.length + bound.params.length);
    this.counters.dispatches++;
    const { queued } = this.#executor;
    for (const [name] of bindings) this.#own(given[name]).usedUntil = queued;
  }

  async read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const buffer = this.#own(source);
    checkRange(buffer, byteOffset, byteLength);
    this.counters.bytesRead += byteLength;
    // Nothing queued touches it: there is no reason to wait for the rest of the queue, which may be another layer's solve.
    if (!this.#inUse(buffer)) {
      this.#executor.throwIfLost();
      return this.#heap.read(buffer.address + byteOffset, byteLength);
    }
    // What is queued after this call must not show in its result: the copy is a command too.
    const staging = this.#allocate(`staging of ${buffer.label}`, byteLength);
    try {
      this.#push(this.#copyBytes, buffer.address + byteOffset, staging, byteLength);
      buffer.usedUntil = this.#executor.queued;
      await this.finish();
      return this.#heap.read(staging, byteLength);
    } finally {
      this.#heap.retire(staging, this.#executor.completed);
    }
  }

  finish(): Promise<void> {
    return this.#executor.finish();
  }

  dispose(): Promise<void> {
    return this.#executor.dispose();
  }

  /** Takes a buffer's memory back when the commands queued so far no longer use it. */
  release(buffer: CpuBuffer): void {
    this.counters.bytesLive -= buffer.byteLength;
    this.#heap.retire(buffer.address, buffer.usedUntil);
  }

  #allocate(label: string, bytes: number): number {
    this.#heap.sweep(this.#executor.completed);
    const address = this.#heap.allocate(bytes);
    if (address !== undefined) return address;
    throw new OutOfRoomError(
      `buffer ${label}: no room for ${bytes} bytes beside the ${this.counters.bytesLive} in use; ` +
        `WebAssembly's 32-bit memory ends at 4 GiB`,
    );
  }

  #own(buffer: DeviceBuffer): CpuBuffer {
    if (!(buffer instanceof CpuBuffer) || buffer.owner !== this) {
      throw new TypeError(`buffer ${buffer?.label} is not of this backend`);
    }
    if (buffer.destroyed) throw new Error(`buffer ${buffer.label} is destroyed`);
    return buffer;
  }

  #inUse(buffer: CpuBuffer): boolean {
    return buffer.usedUntil > this.#executor.completed;
  }

  #push(command: number, ...args: number[]): void {
    this.#table.args.set(args);
    this.#executor.push(command, this.#table.args, args.length);
  }
}

/** @throws {RangeError} on a range past the buffer's end, or not in whole words */
function checkRange(buffer: CpuBuffer, offset: number, length: number): void {
  if (offset % 4 !== 0 || length % 4 !== 0) {
    throw new RangeError(
      `buffer ${buffer.label}: offset ${offset} and length ${length} must be multiples of 4`,
    );
  }
  if (!(offset >= 0 && length >= 0 && offset + length <= buffer.byteLength)) {
    throw new RangeError(
      `buffer ${buffer.label}: ${length} bytes at ${offset} are outside its ${buffer.byteLength} bytes`,
    );
  }
}

/** WebGPU's rule, kept here too: a buffer that a kernel writes is bound once. @throws {TypeError} */
function checkAlone(kernel: string, written: string, buffers: Readonly<Record<string, DeviceBuffer>>): void {
  for (const name in buffers) {
    if (name !== written && buffers[name] === buffers[written]) {
      throw new TypeError(`kernel ${kernel}: ${written} is written, but ${name} is the same buffer`);
    }
  }
}

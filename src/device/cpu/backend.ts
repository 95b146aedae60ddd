/**
 * The `cpu` backend: implements `Backend` with kernels in WebAssembly SIMD. All buffers lie in one WebAssembly memory.
 * The calling thread only queues commands, which an `Executor` runs on worker threads, or on the calling thread if
 * there are none (`threads: 0`).
 */

import {
  type Adapter,
  type Backend,
  type DeviceBuffer,
  newCounters,
  OutOfDeviceMemoryError,
} from "../backend.ts";
import { checkByteRange, resolveBindings, writeParams } from "../call_checks.ts";
import type { Kernel } from "../kernels/kernel.ts";
import { DTYPE_CODE } from "../kernels/transfer/convert.ts";
import { adapterName } from "./instruction_pairing.ts";
import { CpuBuffer } from "./buffer.ts";
import { MAX_ARGS, RING_CELLS } from "./command_ring.ts";
import { type Executor, InlineExecutor } from "./executor.ts";
import { DECLARED_PAGES, Heap, MAX_HEAP_BYTES, type Reserved } from "./heap.ts";
import { KernelTable } from "./kernel_table.ts";
import { instantiate, kernelNames, loadModule } from "./module.ts";
import type { ProductLibrary } from "./products/product_library.ts";
import { RoundedCopies } from "./products/rounded_copies.ts";
import { createThreadPool } from "./thread_pool.ts";

/** The size limit of a buffer: half of the memory that wasm32 can address, which leaves room for other operands. */
const MAX_BUFFER_BYTES = 2 ** 31;

/** Options of {@link createCpuBackend}. */
export interface CpuBackendOptions {
  /**
   * The number of worker threads. With 0, kernels run on the calling thread and block it.
   * @default navigator.hardwareConcurrency
   */
  readonly threads?: number;
  /**
   * The compiled module, for programs that may not compile WebAssembly themselves. It must import a plain memory if
   * `threads` is 0, and a shared memory otherwise.
   * @default the module in `build/`
   */
  readonly module?: WebAssembly.Module;
  /** The library that multiplies matrices. Without one, WebAssembly multiplies them. */
  readonly library?: ProductLibrary;
}

/**
 * Creates a backend with its own threads and memory. Dispose of it when it is no longer needed, because its threads
 * keep the process alive.
 * @throws {RangeError} if `threads` is not an integer of at least 0
 * @throws {OutOfDeviceMemoryError} if there is no memory for the threads
 * @throws {DeviceLostError} if a thread does not start
 * @throws {Error} if the module has not been built
 */
export async function createCpuBackend(options: CpuBackendOptions = {}): Promise<Backend> {
  const { threads = navigator.hardwareConcurrency } = options;
  if (!Number.isInteger(threads) || threads < 0) {
    throw new RangeError(`threads of the cpu backend must be an integer of at least 0, got ${threads}`);
  }
  const module = options.module ?? await loadModule(threads > 0);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: DECLARED_PAGES, shared: threads > 0 });
  const kernels = instantiate(module, memory, Math.max(1, threads), options.library);
  const names = kernelNames(module);
  const heap = new Heap(memory, kernels.heapBase);
  const allocate = (bytes: number) => {
    const address = heap.allocate(bytes);
    if (address === undefined) {
      throw new OutOfDeviceMemoryError(
        `there is not enough memory for the ${threads} threads of the cpu backend`,
      );
    }
    return address;
  };
  const parts = { module, memory, kernels, names };
  const executor = threads === 0
    ? new InlineExecutor({
      ...parts,
      args: allocate(4 * MAX_ARGS),
      scratch: allocate(kernels.scratchBytes),
    })
    : await createThreadPool({
      ...parts,
      ring: allocate(4 * RING_CELLS),
      scratches: Array.from({ length: threads }, () => allocate(kernels.scratchBytes)),
      library: options.library,
    });
  return new CpuBackend(executor, heap, new KernelTable(names), kernels.markChanged, options.library);
}

class CpuBackend implements Backend {
  readonly kind = "cpu";
  readonly adapter: Adapter;
  readonly maxBufferBytes = MAX_BUFFER_BYTES;
  readonly memoryBytes = MAX_HEAP_BYTES;
  readonly counters = newCounters();
  readonly #markChangedInModule: (address: number) => void;
  /** Present if the library multiplies bfloat16. */
  readonly #roundedCopies?: RoundedCopies;

  constructor(
    private readonly executor: Executor,
    private readonly heap: Heap,
    private readonly table: KernelTable,
    markChanged: (address: number) => void,
    library?: ProductLibrary,
  ) {
    const name = adapterName(executor.threads, library?.name);
    const rounds = library?.precision === "bfloat16" ? library.precision : undefined;
    this.adapter = { name, software: false, ...(rounds && { rounds }) };
    this.#markChangedInModule = markChanged;
    if (rounds) this.#roundedCopies = new RoundedCopies(this.#copiesOwner());
  }

  createBuffer(label: string, byteLength: number): DeviceBuffer {
    const bytes = Math.ceil(byteLength / 4) * 4, limit = this.maxBufferBytes;
    if (!(bytes >= 0 && bytes <= limit)) {
      throw new OutOfDeviceMemoryError(
        `buffer ${label}: ${byteLength} bytes exceed the cpu backend's limit of ${limit} bytes`,
      );
    }
    const { address, usedUntil } = this.#reserve(label, bytes);
    return new CpuBuffer(this, label, address, bytes, usedUntil);
  }

  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void {
    const buffer = this.#own(target);
    checkByteRange("write to", buffer, byteOffset, bytes.byteLength);
    this.counters.bytesWritten += bytes.byteLength;
    this.#markChanged(buffer);
    if (!this.#inUse(buffer)) return this.heap.write(buffer.address + byteOffset, bytes);
    // Queued commands must still see the old contents, so the bytes are staged and a queued command copies them.
    const staging = this.#allocate(`staging of ${buffer.label}`, bytes.byteLength);
    this.heap.write(staging, bytes);
    this.#push("copy_bytes", staging, buffer.address + byteOffset, bytes.byteLength);
    buffer.usedUntil = this.executor.queued;
    this.heap.retire(staging, bytes.byteLength, this.executor.queued);
  }

  copy(
    source: DeviceBuffer,
    sourceOffset: number,
    target: DeviceBuffer,
    targetOffset: number,
    byteLength: number,
  ): void {
    const from = this.#own(source), to = this.#own(target);
    checkByteRange("copy from", from, sourceOffset, byteLength);
    checkByteRange("copy to", to, targetOffset, byteLength);
    if (from === to && Math.abs(sourceOffset - targetOffset) < byteLength) {
      throw new RangeError(`copy within buffer ${from.label}: the two ranges must not overlap`);
    }
    this.#push("copy_bytes", from.address + sourceOffset, to.address + targetOffset, byteLength);
    this.#markChanged(to);
    from.usedUntil = to.usedUntil = this.executor.queued;
  }

  clear(target: DeviceBuffer): void {
    const buffer = this.#own(target);
    this.#push("zero_bytes", buffer.address, buffer.byteLength);
    this.#markChanged(buffer);
    buffer.usedUntil = this.executor.queued;
  }

  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void {
    const table = this.table, { pack, index } = table.resolve(kernel);
    const operands = resolveBindings(kernel, buffers, (buffer) => this.#own(buffer));
    const { roundedOutput } = kernel, output = operands[operands.length - 1];
    for (const [i, access] of Object.values(kernel.bindings).entries()) {
      if (access === "read_write" && !(roundedOutput && operands[i] === output)) {
        this.#markChanged(operands[i]);
      }
    }
    // Rounding an operand is a command too, so it must be queued before the arguments of this one are written.
    const rounded = this.#roundedAddresses(kernel, operands, params);
    operands.forEach(({ address }, i) => table.args[i] = address);
    const declared = writeParams(kernel, params, table.args, table.floatArgs, operands.length);
    if (roundedOutput) {
      this.#markChangedInModule(output.address);
      rounded.push(this.#roundedCopies?.writtenBy(output, roundedOutput(params)) ?? 0);
    }
    table.args.set(rounded, declared);
    for (const command of [pack, index]) {
      if (command !== undefined) this.executor.push(command, table.args, declared + rounded.length);
    }
    this.counters.dispatches++;
    for (const operand of operands) operand.usedUntil = this.executor.queued;
  }

  async read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const buffer = this.#own(source);
    checkByteRange("read from", buffer, byteOffset, byteLength);
    this.counters.bytesRead += byteLength;
    // If no queued command uses the buffer, the read need not wait for the queue, which may hold another layer's solve.
    if (!this.#inUse(buffer)) {
      this.executor.throwIfLost();
      return this.heap.read(buffer.address + byteOffset, byteLength);
    }
    // A queued command copies the bytes, so that commands queued after this call cannot change the result.
    const staging = this.#allocate(`staging of ${buffer.label}`, byteLength);
    try {
      this.#push("copy_bytes", buffer.address + byteOffset, staging, byteLength);
      buffer.usedUntil = this.executor.queued;
      await this.finish();
      return this.heap.read(staging, byteLength);
    } finally {
      this.heap.retire(staging, byteLength, this.executor.completed);
    }
  }

  finish(): Promise<void> {
    return this.executor.finish();
  }

  dispose(): Promise<void> {
    return this.executor.dispose();
  }

  /** Frees the memory of a buffer once the queued commands no longer use it. */
  release(buffer: CpuBuffer): void {
    this.#roundedCopies?.free(buffer);
    this.counters.bytesLive -= buffer.byteLength;
    this.heap.retire(buffer.address, buffer.byteLength, buffer.usedUntil);
  }

  /** Returns the addresses of the rounded copies of the operands, which follow the declared arguments, or zeros. */
  #roundedAddresses(
    { rounded }: Kernel,
    operands: readonly CpuBuffer[],
    params: Readonly<Record<string, number>>,
  ): number[] {
    if (!rounded) return [];
    const copies = rounded.isWorthwhile?.(params) ?? true ? this.#roundedCopies : undefined;
    return copies?.addresses(operands.slice(0, rounded.count)) ?? new Array(rounded.count).fill(0);
  }

  /** Must be called for each buffer that a queued command or the host writes, because copies of it are then outdated. */
  #markChanged(buffer: CpuBuffer): void {
    this.#roundedCopies?.markChanged(buffer);
    this.#markChangedInModule(buffer.address);
  }

  #copiesOwner(): ConstructorParameters<typeof RoundedCopies>[0] {
    return {
      allocate: (label, bytes) => this.#reserve(label, bytes).address,
      retire: (address, bytes) => {
        this.counters.bytesLive -= bytes;
        this.heap.retire(address, bytes, this.executor.queued);
      },
      round: (buffer, address) => {
        this.#push("from_float32", buffer.address, address, buffer.byteLength / 4, DTYPE_CODE.BF16, 0);
        buffer.usedUntil = this.executor.queued;
      },
    };
  }

  /** Allocates memory that no queued command uses. */
  #allocate(label: string, bytes: number): number {
    this.heap.sweep(this.executor.completed);
    return this.heap.allocate(bytes) ?? this.#throwNoRoom(label, bytes);
  }

  /** Allocates the memory of a buffer or of a copy, and counts it. Earlier commands may still use it. Until they are done, only later commands may change it. */
  #reserve(label: string, bytes: number): Reserved {
    this.heap.sweep(this.executor.completed);
    const reserved = this.heap.reserve(bytes) ?? this.#throwNoRoom(label, bytes), counters = this.counters;
    counters.bytesLive += bytes;
    counters.bytesPeak = Math.max(counters.bytesPeak, counters.bytesLive);
    return reserved;
  }

  #throwNoRoom(label: string, bytes: number): never {
    throw new OutOfDeviceMemoryError(
      `buffer ${label}: no room for ${bytes} bytes with ${this.counters.bytesLive} bytes in use; ` +
        `WebAssembly's 32-bit memory ends at 4 GiB`,
    );
  }

  /** Checks that a buffer belongs to this backend and is not destroyed. */
  #own(buffer: DeviceBuffer): CpuBuffer {
    if (!(buffer instanceof CpuBuffer) || buffer.owner !== this) {
      throw new TypeError(`buffer ${buffer?.label} belongs to another backend`);
    }
    if (buffer.destroyed) throw new Error(`buffer ${buffer.label} is destroyed`);
    return buffer;
  }

  #inUse(buffer: CpuBuffer): boolean {
    return buffer.usedUntil > this.executor.completed;
  }

  #push(command: string, ...args: number[]): void {
    this.table.args.set(args);
    this.executor.push(this.table.index(command), this.table.args, args.length);
  }
}

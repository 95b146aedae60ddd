/**
 * A backend that computes nothing. It records which kernels a GPU with given limits would run, with the
 * number of their workgroups, and how many bytes would cross the bus. So the work of a layer can be counted
 * on a machine that has no such GPU, in a few seconds and with little memory.
 */

import {
  type Backend,
  type BackendCounters,
  type DeviceBuffer,
  OutOfDeviceMemoryError,
} from "../../../src/device/backend.ts";
import { countPatches } from "../../../src/device/kernels/gemm.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { chooseShader } from "../../../src/device/webgpu/tuning.ts";

/** The limits of a GPU that decide how the work of a layer is divided. */
export interface GpuLimits {
  readonly name: string;
  /** The number of processors (streaming multiprocessors), each of which runs one or more workgroups. */
  readonly processors: number;
  readonly invocationsPerWorkgroup: number;
  readonly workgroupBytes: number;
  /** The size of the largest storage binding, in bytes. */
  readonly maxBufferBytes: number;
}

/** The limits that NVIDIA's driver reports to WebGPU on an H100, and its number of processors. */
export const H100: GpuLimits = {
  name: "NVIDIA H100 SXM (not measured, only its limits)",
  processors: 132,
  invocationsPerWorkgroup: 1024,
  workgroupBytes: 48 * 2 ** 10,
  maxBufferBytes: 2 ** 31 - 16, // 2 GiB − 4, rounded down to a multiple of 16 as in `WebGpuBackend`
};

export interface RecordedDispatch {
  readonly kernel: string;
  readonly params: Readonly<Record<string, number>>;
  /** The number of workgroups that have something to compute. */
  readonly workgroups: number;
  /** The floating-point operations of a matrix product, if the kernel computes one. Otherwise 0. */
  readonly productFlops: number;
  /** The bytes of device memory that the dispatch reads and writes if each operand moves once. */
  readonly memoryBytes: number;
  /** The part of `memoryBytes` that are operands of a matrix product. */
  readonly productBytes: number;
  /** The columns that are factored one after another. 0 for all kernels but `reverse_cholesky`. */
  readonly serialColumns: number;
}

/** A {@link Backend} that records its dispatches. Reads of a diagonal return ones, and all others zeros. */
export class RecordingBackend implements Backend {
  readonly kind = "webgpu";
  readonly adapter: { readonly name: string; readonly software: false };
  readonly maxBufferBytes: number;
  readonly counters: BackendCounters = {
    dispatches: 0,
    bytesWritten: 0,
    bytesRead: 0,
    bytesLive: 0,
    bytesPeak: 0,
  };
  readonly dispatches: RecordedDispatch[] = [];
  /** The number of calls that wait for the device. */
  waits = 0;

  readonly #workgroupBytes: number;

  constructor({ name, maxBufferBytes, workgroupBytes }: GpuLimits) {
    this.#workgroupBytes = workgroupBytes;
    this.adapter = { name, software: false };
    this.maxBufferBytes = maxBufferBytes;
  }

  createBuffer(label: string, byteLength: number): DeviceBuffer {
    if (byteLength > this.maxBufferBytes) {
      throw new OutOfDeviceMemoryError(
        `buffer ${label}: ${byteLength} bytes are over the limit of ${this.maxBufferBytes}`,
      );
    }
    const { counters } = this;
    let destroyed = false;
    counters.bytesLive += byteLength;
    counters.bytesPeak = Math.max(counters.bytesPeak, counters.bytesLive);
    return {
      label,
      byteLength,
      destroy() {
        if (!destroyed) counters.bytesLive -= byteLength;
        destroyed = true;
      },
    };
  }

  write(_target: DeviceBuffer, _byteOffset: number, bytes: Uint8Array): void {
    this.counters.bytesWritten += bytes.byteLength;
  }

  copy(): void {}

  clear(): void {}

  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    _buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void {
    const shader = chooseShader(kernel, "discrete", {}, params, this.#workgroupBytes);
    const grid = shader.grid(params), values: Readonly<Record<string, number>> = params;
    if (grid.includes(0)) return;
    this.counters.dispatches++;
    const { ROWS, COLS } = shader.constants ?? {};
    const product = productOf(kernel.name, params), productBytes = product ? bytesOfProduct(product) : 0;
    const isGemm = kernel.name.startsWith("gemm_");
    this.dispatches.push({
      kernel: kernel.name,
      params,
      workgroups: product && isGemm ? countPatches(product, ROWS, COLS) : grid[0] * grid[1] * grid[2],
      productFlops: product ? productFlops(product) : 0,
      memoryBytes: productBytes + otherBytes(kernel.name, params),
      productBytes,
      serialColumns: kernel.name === "reverse_cholesky" ? values.size : 0,
    });
  }

  read(source: DeviceBuffer, _byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    this.waits++;
    this.counters.bytesRead += byteLength;
    const values = new Float32Array(byteLength / 4).fill(source.label === "diagonal" ? 1 : 0);
    return Promise.resolve(new Uint8Array(values.buffer));
  }

  finish(): Promise<void> {
    this.waits++;
    return Promise.resolve();
  }

  dispose(): Promise<void> {
    return Promise.resolve();
  }
}

/** The f32 or u32 operands of each element of a block or matrix that a kernel moves. */
const WORDS_PER_ELEMENT: Readonly<Record<string, number>> = {
  copy2d: 2,
  score_keys: 2,
  update_block: 2, // reads W and writes the keys, apart from the operands of the product
  count_ties: 1,
  prune_block: 5, // reads work, keys and W, and writes Q and Δ
};

/** Returns the bytes that a kernel moves apart from the operands of a product. */
function otherBytes(kernel: string, params: Readonly<Record<string, number>>): number {
  const { rows, cols, size, count } = params;
  if (kernel === "key_histogram" || kernel === "refine_histogram") return 4 * count;
  const words = WORDS_PER_ELEMENT[kernel];
  return words === undefined ? 0 : 4 * words * rows * (size ?? cols);
}

/** The sizes of a product, and the parameters of `gemm.ts` that say how much of it is needed. */
type ProductParams = Readonly<Record<"m" | "n" | "k" | "beta" | "upper", number>>;

/** Returns the matrix product that a kernel computes, or undefined if it computes none. */
function productOf(kernel: string, params: Readonly<Record<string, number>>): ProductParams | undefined {
  if (kernel === "update_block") {
    return { m: params.rows, n: params.cols, k: params.depth, beta: 0, upper: 0 };
  }
  if (!kernel.startsWith("gemm_")) return undefined;
  const { m, n, k, beta, upper } = params;
  return { m, n, k, beta, upper };
}

function bytesOfProduct({ m, n, k, beta }: ProductParams): number {
  return 4 * (m * k + k * n + (beta === 0 ? 1 : 2) * m * n);
}

/** Counts the flops of a product. Of an `upper` product, only the needed elements count. */
function productFlops({ m, n, k, upper }: ProductParams): number {
  if (upper === 0) return 2 * m * n * k;
  let elements = 0;
  for (let i = 0; i < m; i++) elements += n - Math.min(n, Math.max(0, i - (upper - 1)));
  return 2 * elements * k;
}

/**
 * Measures the rates of the heavy kernels, which take most of a solve's time, on the WebGPU adapter. Every shader of each kernel is
 * timed by the device's own clock. Flops are counted by formula. Bytes are counted as if each operand were read or written once.
 */

import type { DeviceBuffer } from "../../src/device/backend.ts";
import { gemmNN, gemmNT, gemmTN } from "../../src/device/kernels/gemm.ts";
import type { Kernel } from "../../src/device/kernels/kernel.ts";
import { productNN, productNT, productTN } from "../../src/device/kernels/product.ts";
import { pruneBlock, pruneBlockNM } from "../../src/device/kernels/prune_block.ts";
import { reverseCholesky } from "../../src/device/kernels/reverse_cholesky.ts";
import { DEFAULT_BLOCKSIZE } from "../../src/protocol/limits.ts";
import { createWebGpuBackend, type WebGpuBackend } from "../../src/device/webgpu/backend.ts";
import { fitsIn, shadersOf } from "../../src/device/webgpu/tuning.ts";
import { normals } from "../fixtures/random.ts";
import { requestAdapter } from "../../src/device/webgpu/device.ts";
import { hasMatrixUnits, type MatrixAdapter } from "../../src/device/webgpu/runtimes/matrix_units.ts";
import type { WebGpuRuntime } from "../../src/device/webgpu/runtimes/runtime.ts";
import { median } from "../bench/measure/statistics.ts";

/** The rate of one shader. A kernel may have several shaders, which are called variants. */
export interface KernelRate {
  readonly kernel: string;
  readonly variant: string;
  readonly seconds: number;
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
}

interface KernelRateOptions {
  /** The order of the square matrices. */
  readonly order: number;
  readonly rounds: number;
  /** The implementation of WebGPU. @default "deno" */
  readonly runtime?: WebGpuRuntime;
  /** Whether only the matrix products are timed. @default false */
  readonly productsOnly?: boolean;
}

interface TimedDispatch {
  readonly kernel: Kernel;
  /** The number of elements of each buffer. Every element has 4 bytes. */
  readonly elements: Readonly<Record<string, number>>;
  readonly params: Readonly<Record<string, number>>;
  /** The floating-point operations of the dispatch, counted by formula. */
  readonly flops: number;
}

/** The block size B. A block of columns of the weights W is (order, B), and a diagonal block of the Hessian's factor is (B, B). */
const SIZE = DEFAULT_BLOCKSIZE;

function timedProducts(order: number): TimedDispatch[] {
  const square = order * order;
  return [gemmNN, gemmNT, gemmTN, productNN, productNT, productTN].map((kernel): TimedDispatch => ({
    kernel,
    elements: { a: square, b: square, c: square },
    params: {
      ...{ m: order, n: order, k: order, alpha: 1, beta: 1, upper: 0 },
      ...{ a_offset: 0, lda: order, b_offset: 0, ldb: order, c_offset: 0, ldc: order },
    },
    flops: 2 * order ** 3,
  }));
}

function timedDispatches(order: number): TimedDispatch[] {
  const block = order * SIZE;
  const pruned = { work: block, u: SIZE * SIZE, w: block, q: block, mask: block / 32, sums: 2 * order };
  const layout = { rows: order, size: SIZE, row0: 0, ldwork: SIZE, u_offset: 0, ldu: SIZE };
  const params = { ...layout, w_offset: 0, ldw: SIZE, first: 0, words: SIZE / 32 };
  return [
    ...timedProducts(order),
    {
      kernel: pruneBlock,
      elements: { ...pruned, keys: block, selection: 2 + order },
      params,
      flops: block * SIZE,
    },
    {
      kernel: pruneBlockNM,
      elements: { ...pruned, forced: block / 32 },
      params: { ...params, keep: 2, group: 4, has_forced: 0 },
      flops: block * SIZE,
    },
    {
      kernel: reverseCholesky,
      elements: { h: SIZE * SIZE, r: SIZE * SIZE, u: SIZE * SIZE, diagonal: SIZE, status: 1 },
      params: { size: SIZE, offset: 0, ld: SIZE, r_offset: 0, ldr: SIZE, u_offset: 0, ldu: SIZE, first: 0 },
      flops: 2 / 3 * SIZE ** 3,
    },
  ];
}

/**
 * Times every variant of each heavy kernel that the adapter can run. The variants of a kernel take turns.
 * @throws {NoAdapterError} if the machine has no WebGPU adapter
 */
export async function measureKernels(
  { order, rounds, runtime, productsOnly = false }: KernelRateOptions,
): Promise<KernelRate[]> {
  const rates: KernelRate[] = [];
  const adapter = await requestAdapter(false, runtime);
  for (const work of productsOnly ? timedProducts(order) : timedDispatches(order)) {
    const variants = timedVariants(work.kernel, adapter);
    const backends: WebGpuBackend[] = [];
    try {
      for (const variant of variants) {
        const tuning = { [work.kernel.name]: variant };
        backends.push(await createWebGpuBackend({ runtime, tuning, warm: [work.kernel] }));
      }
      const runs = backends.map((backend) => prepare(backend, work));
      const seconds = variants.map((): number[] => []);
      for (let round = 0; round < rounds; round++) {
        for (const [i, backend] of backends.entries()) {
          runs[i].reset();
          seconds[i].push(await backend.timePass(runs[i].run));
        }
      }
      const bytes = 4 * Object.values(work.elements).reduce((sum, count) => sum + count, 0);
      for (const [i, variant] of variants.entries()) {
        const medianSeconds = median(seconds[i]);
        rates.push({
          kernel: work.kernel.name,
          variant,
          seconds: medianSeconds,
          gflops: work.flops / medianSeconds / 1e9,
          gigabytesPerSecond: bytes / medianSeconds / 1e9,
        });
      }
    } finally {
      for (const backend of backends) await backend.dispose();
    }
  }
  return rates;
}

/**
 * Returns the variants of a kernel that `adapter` can run. The variants of `product.ts` are the same as the variants of `gemm.ts`, except
 * for the variant for matrix units, so only this one is timed.
 */
function timedVariants(kernel: Kernel, adapter: GPUAdapter): string[] {
  const isProduct = [productNN, productNT, productTN].includes(kernel);
  const hasUnits = hasMatrixUnits(adapter as MatrixAdapter);
  return [...shadersOf(kernel)].flatMap(([name, shader]) => {
    const isWanted = shader.usesMatrixUnits ? hasUnits : !isProduct;
    return isWanted && fitsIn(shader, adapter.limits.maxComputeWorkgroupStorageSize) ? [name] : [];
  });
}

/** Creates the buffers of a dispatch. `reset` fills them with the same values before each run, because a kernel overwrites its operands. */
function prepare(backend: WebGpuBackend, { kernel, elements, params }: TimedDispatch) {
  const buffers = Object.fromEntries(
    Object.entries(elements).map(([name, count]) => [name, backend.createBuffer(name, 4 * count)]),
  );
  const values = Object.fromEntries(
    Object.entries(elements).map(([name, count], i) => [name, initialValues(name, count, i)]),
  );
  return {
    reset() {
      for (const [name, buffer] of Object.entries<DeviceBuffer>(buffers)) {
        backend.write(buffer, 0, new Uint8Array(values[name].buffer));
      }
    },
    run: () => backend.dispatch(kernel, buffers, params),
  };
}

/**
 * The initial values of a buffer. The buffers `u` and `h` hold nearly identity matrices, because a kernel
 * factors them or divides by their diagonals. Buffers that hold a status, a selection, a mask or sums start
 * with zeros. All other buffers hold random numbers.
 */
function initialValues(name: string, count: number, seed: number): Float32Array<ArrayBuffer> {
  const identity = name === "u" || name === "h";
  if (identity) return Float32Array.from({ length: count }, (_, i) => i % (SIZE + 1) === 0 ? 1 : 1e-3);
  if (["status", "selection", "mask", "sums", "forced"].includes(name)) return new Float32Array(count);
  return normals(count, seed + 1);
}

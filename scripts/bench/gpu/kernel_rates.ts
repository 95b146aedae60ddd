/**
 * What each shader of the solve's heavy kernels reaches on the adapter: seconds on the device's clock, FLOP/s by formula, and the bytes
 * a second that its operands amount to if each is moved once.
 */

import type { DeviceBuffer } from "../../../src/backend/backend.ts";
import { gemmNN, gemmNT, gemmTN } from "../../../src/kernels/gemm.ts";
import type { Kernel } from "../../../src/kernels/kernel.ts";
import { pruneBlock, pruneBlockNM } from "../../../src/kernels/prune_block.ts";
import { reverseCholesky } from "../../../src/kernels/reverse_cholesky.ts";
import { createWebGpuBackend, type WebGpuBackend } from "../../../src/webgpu/backend.ts";
import { shadersOf } from "../../../src/webgpu/tuning.ts";
import { normals } from "../../../tests/support/random.ts";
import { median } from "../statistics.ts";

/** One shader of one kernel. */
export interface KernelRate {
  readonly kernel: string;
  readonly variant: string;
  readonly seconds: number;
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
}

/** A dispatch to time: elements of each buffer (4 bytes each), and what it works by formula. */
interface Case {
  readonly kernel: Kernel;
  readonly elements: Readonly<Record<string, number>>;
  readonly params: Readonly<Record<string, number>>;
  readonly flops: number;
}

/** Columns a block, the default of requests. */
const SIZE = 128;

function cases(order: number): Case[] {
  const square = order * order, block = order * SIZE;
  const gemm = [gemmNN, gemmNT, gemmTN].map((kernel): Case => ({
    kernel,
    elements: { a: square, b: square, c: square },
    params: {
      ...{ m: order, n: order, k: order, alpha: 1, beta: 1, upper: 0 },
      ...{ a_offset: 0, lda: order, b_offset: 0, ldb: order, c_offset: 0, ldc: order },
    },
    flops: 2 * order ** 3,
  }));
  const pruned = { work: block, u: SIZE * SIZE, w: block, q: block, mask: block / 32, sums: 2 * order };
  const layout = { rows: order, size: SIZE, row0: 0, ldwork: SIZE, u_offset: 0, ldu: SIZE };
  const params = { ...layout, w_offset: 0, ldw: SIZE, first: 0, words: SIZE / 32 };
  return [
    ...gemm,
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
      elements: { h: SIZE * SIZE, u: SIZE * SIZE, diagonal: SIZE, status: 1 },
      params: { size: SIZE, offset: 0, ld: SIZE, u_offset: 0, ldu: SIZE, first: 0 },
      flops: 2 / 3 * SIZE ** 3,
    },
  ];
}

/** Times every shader of every case, `rounds` each, the variants of a kernel by turns. */
export async function measureKernels(order: number, rounds: number): Promise<KernelRate[]> {
  const rates: KernelRate[] = [];
  for (const work of cases(order)) {
    const variants = [...shadersOf(work.kernel).keys()];
    const backends: WebGpuBackend[] = [];
    try {
      for (const variant of variants) {
        const tuning = () => ({ [work.kernel.name]: variant });
        backends.push(await createWebGpuBackend({ tuning, warm: [work.kernel] }));
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
        const took = median(seconds[i]);
        rates.push({
          kernel: work.kernel.name,
          variant,
          seconds: took,
          gflops: work.flops / took / 1e9,
          gigabytesPerSecond: bytes / took / 1e9,
        });
      }
    } finally {
      for (const backend of backends) await backend.dispose();
    }
  }
  return rates;
}

/** Fills the operands anew, so that no run goes on from what another left; then the dispatch itself. */
function prepare(backend: WebGpuBackend, { kernel, elements, params }: Case) {
  const buffers = Object.fromEntries(
    Object.entries(elements).map(([name, count]) => [name, backend.createBuffer(name, 4 * count)]),
  );
  const values = Object.fromEntries(
    Object.entries(elements).map(([name, count], i) => [name, operand(name, count, i)]),
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

/** What a kernel may meet: identities for the factor's blocks, words of no meaning as zeros, normals elsewhere. */
function operand(name: string, count: number, seed: number): Float32Array<ArrayBuffer> {
  const identity = name === "u" || name === "h";
  if (identity) return Float32Array.from({ length: count }, (_, i) => i % (SIZE + 1) === 0 ? 1 : 1e-3);
  if (["status", "selection", "mask", "sums", "forced"].includes(name)) return new Float32Array(count);
  return normals(count, seed + 1);
}

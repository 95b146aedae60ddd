/**
 * Compares the variants of Pare's matrix product `gemm_nn` with public designs of a WGSL matrix product. Each design is first
 * checked against float64. Then the designs take turns and are timed by the device's clock.
 */

import type { DeviceBuffer } from "../../../src/backend/backend.ts";
import { gemmNN } from "../../../src/kernels/gemm.ts";
import { createWebGpuBackend, type WebGpuBackend } from "../../../src/webgpu/backend.ts";
import { shadersOf } from "../../../src/webgpu/tuning.ts";
import { normals } from "../../../tests/support/random.ts";
import { median } from "../measure/statistics.ts";
import { PUBLIC_MATMULS } from "./public_matmuls.ts";

/** The rate of one design. */
export interface MatmulRate {
  readonly design: string;
  /** Whether the design is one of Pare's own variants. */
  readonly ours: boolean;
  readonly gflops: number;
}

/** How many elements of each product are compared with float64. */
const CHECKED_ELEMENTS = 64;

/** One design with its operands on a device. */
interface Entrant {
  readonly design: string;
  readonly ours: boolean;
  readonly backend: WebGpuBackend;
  /** The buffer of the product, (order, order) f32. */
  readonly c: DeviceBuffer;
  /** Queues one matrix product on the device. */
  run(): void;
}

/**
 * Times C ← A·B in f32, where each matrix is (order, order), `rounds` times with each design.
 * @throws {Error} if a design computes a wrong product
 */
export async function raceMatmuls(order: number, rounds: number): Promise<MatmulRate[]> {
  const a = normals(order * order, 1), b = normals(order * order, 2);
  const entrants: Entrant[] = [];
  try {
    // A backend uses one variant of each kernel, so each variant of gemm needs its own backend. The public designs share one.
    for (const variant of shadersOf(gemmNN).keys()) {
      const backend = await createWebGpuBackend({ tuning: () => ({ gemm_nn: variant }) });
      const operands = upload(backend, a, b);
      const layout = { a_offset: 0, lda: order, b_offset: 0, ldb: order, c_offset: 0, ldc: order };
      const params = { m: order, n: order, k: order, ...layout, alpha: 1, beta: 0, upper: 0 };
      const run = () => backend.dispatch(gemmNN, operands, params);
      entrants.push({ design: `gemm, ${variant}`, ours: true, backend, c: operands.c, run });
    }
    const backend = await createWebGpuBackend();
    const operands = upload(backend, a, b);
    for (const kernel of PUBLIC_MATMULS) {
      const run = () => backend.dispatch(kernel, operands, { n: order });
      entrants.push({ design: kernel.name, ours: false, backend, c: operands.c, run });
    }
    for (const entrant of entrants) await checkProduct(entrant, a, b, order);
    const seconds = entrants.map((): number[] => []);
    for (let round = 0; round < rounds; round++) {
      for (const [i, { backend, run }] of entrants.entries()) seconds[i].push(await backend.timePass(run));
    }
    return entrants.map(({ design, ours }, i) => ({
      design,
      ours,
      gflops: 2 * order ** 3 / median(seconds[i]) / 1e9,
    }));
  } finally {
    for (const backend of new Set(entrants.map((entrant) => entrant.backend))) await backend.dispose();
  }
}

function upload(backend: WebGpuBackend, a: Float32Array<ArrayBuffer>, b: Float32Array<ArrayBuffer>) {
  const buffers = {
    a: backend.createBuffer("a", a.byteLength),
    b: backend.createBuffer("b", b.byteLength),
    c: backend.createBuffer("c", a.byteLength),
  };
  backend.write(buffers.a, 0, new Uint8Array(a.buffer));
  backend.write(buffers.b, 0, new Uint8Array(b.buffer));
  return buffers;
}

async function checkProduct(
  { design, backend, c, run }: Entrant,
  a: Float32Array,
  b: Float32Array,
  order: number,
): Promise<void> {
  backend.clear(c); // the previous design may have left the correct product in the shared buffer
  run();
  const product = new Float32Array((await backend.read(c, 0, c.byteLength)).buffer);
  for (let sample = 0; sample < CHECKED_ELEMENTS; sample++) {
    const at = Math.floor(sample * (product.length - 1) / (CHECKED_ELEMENTS - 1)),
      i = Math.floor(at / order),
      j = at % order;
    let sum = 0, magnitude = 0;
    for (let p = 0; p < order; p++) {
      sum += a[i * order + p] * b[p * order + j];
      magnitude += Math.abs(a[i * order + p] * b[p * order + j]);
    }
    // The rounding error of a sum of k terms, added in any order, is at most about k·2⁻²⁴ times the sum of
    // their magnitudes.
    if (!(Math.abs(product[at] - sum) <= order * 2 ** -24 * magnitude)) {
      throw new Error(`${design}: element (${i}, ${j}) is ${product[at]}, but the product is ${sum}`);
    }
  }
}

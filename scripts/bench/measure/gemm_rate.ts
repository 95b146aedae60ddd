/** Measures the rate of a backend's matrix product. */

import type { Backend } from "../../../src/device/backend.ts";
import { gemmNN } from "../../../src/device/kernels/gemm.ts";
import { gemm } from "../../../src/layer/linalg/gemm.ts";
import type { Submatrix } from "../../../src/layer/linalg/tile_arithmetic.ts";
import { normals } from "../../fixtures/random.ts";

/** The rate of a product of two matrices of (order, order), as the fastest of several timings. */
export interface GemmRate {
  readonly order: number;
  readonly gflops: number;
}

/** The number of products in each timing. With several products, the wait for the device is a small part of the time. */
const PRODUCTS = 4;
const TIMINGS = 8;

/**
 * Times C ← A·B in f32 on `backend`, where each matrix is (order, order). The first product is not timed. A solve consists
 * mainly of such products, so the layers bench states the rate of a solve as a fraction of this rate.
 */
export async function measureGemmRate(backend: Backend, order = 1024): Promise<GemmRate> {
  const [a, b, c] = ["a", "b", "c"].map((label): Submatrix => ({
    buffer: backend.createBuffer(label, 4 * order * order),
    offset: 0,
    ld: order,
  }));
  // Random numbers, because a product of zeros draws less power and therefore runs at a higher clock rate.
  const values = new Uint8Array(normals(order * order, 1).buffer);
  for (const { buffer } of [a, b]) backend.write(buffer, 0, values);
  const product = { m: order, n: order, k: order };
  let fastest = Infinity;
  for (let i = 0; i <= TIMINGS; i++) {
    const started = performance.now();
    for (let j = 0; j < PRODUCTS; j++) gemm(backend, gemmNN, a, b, c, product);
    await backend.finish();
    if (i > 0) fastest = Math.min(fastest, (performance.now() - started) / 1000);
  }
  for (const { buffer } of [a, b, c]) buffer.destroy();
  return { order, gflops: PRODUCTS * 2 * order ** 3 / fastest / 1e9 };
}

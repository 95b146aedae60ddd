/**
 * The rate a backend reaches where nothing but multiply-adds is asked of it: its own product of two 1024² matrices, in process. It is
 * not the silicon's peak: a GEMM that falls short of that raises every other fraction.
 */

import type { Backend } from "../../src/backend/backend.ts";
import { gemmNN } from "../../src/kernels/gemm.ts";
import { type Block, gemm } from "../../src/linalg/gemm.ts";
import { normals } from "../../tests/support/random.ts";

/** The best of several timings. */
export interface GemmRate {
  /** Order of the matrices. */
  readonly order: number;
  readonly gflops: number;
}

/** Products a timing, so that the wait for the last is a small part of it. */
const PRODUCTS = 4;
const TIMINGS = 8;

/** Times C ← A·B of the given order on `backend`, after one product that is not timed. */
export async function measureGemm(backend: Backend, order = 1024): Promise<GemmRate> {
  const [a, b, c] = ["a", "b", "c"].map((label): Block => ({
    buffer: backend.createBuffer(label, 4 * order * order),
    offset: 0,
    ld: order,
  }));
  // Not zeros, which cost less power and so run at a higher clock.
  const values = new Uint8Array(normals(order * order, 1).buffer);
  backend.write(a.buffer, 0, values);
  backend.write(b.buffer, 0, values);
  const product = { m: order, n: order, k: order };
  gemm(backend, gemmNN, a, b, c, product);
  await backend.finish();
  let fastest = Infinity;
  for (let i = 0; i < TIMINGS; i++) {
    const started = performance.now();
    for (let j = 0; j < PRODUCTS; j++) gemm(backend, gemmNN, a, b, c, product);
    await backend.finish();
    fastest = Math.min(fastest, (performance.now() - started) / 1000);
  }
  for (const { buffer } of [a, b, c]) buffer.destroy();
  return { order, gflops: PRODUCTS * 2 * order ** 3 / fastest / 1e9 };
}

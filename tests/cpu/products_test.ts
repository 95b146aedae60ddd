/**
 * Tests the matrix products of the `cpu` backend: gemm with dense and sparse operands, and attention. Each
 * product has two variants. The paired variant is for engines that merge two 128-bit instructions into one of
 * 256 bits (`src/cpu/instruction_pairing.ts`), and the unpaired variant is for all other engines. Both
 * variants must give the same bits, and agree with a product in float64.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/backend/backend.ts";
import { createCpuBackend } from "../../src/cpu/backend.ts";
import { attention } from "../../src/kernels/forward/attention.ts";
import { gemmNN, gemmNT, gemmTN } from "../../src/kernels/gemm.ts";
import { referenceGemm } from "../reference/kernels/gemm.ts";
import { assertClose } from "../support/assert_close.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals, uniform } from "../support/random.ts";

const FLAGS = "DENO_V8_FLAGS";
const KERNELS = { gemm_nn: gemmNN, gemm_nt: gemmNT, gemm_tn: gemmTN };

/**
 * Creates a backend while the environment variable DENO_V8_FLAGS is `flags`. A backend reads the flags when
 * it is created, and chooses the variants of its kernels accordingly. The flags of the running engine do not
 * change. This is harmless, because both variants run on any engine.
 */
async function withFlags(flags: string, threads?: number): Promise<Backend> {
  const before = Deno.env.get(FLAGS);
  Deno.env.set(FLAGS, flags);
  try {
    return await createCpuBackend({ threads });
  } finally {
    if (before === undefined) Deno.env.delete(FLAGS);
    else Deno.env.set(FLAGS, before);
  }
}

/** Generates normally distributed numbers, and replaces a fraction `zeros` of them by 0. */
function withZeros(count: number, zeros: number, seed: number): Float32Array<ArrayBuffer> {
  const next = uniform(seed + 100);
  return normals(count, seed).map((value) => next() < zeros ? 0 : value);
}

interface Case {
  readonly kernel: keyof typeof KERNELS;
  readonly size: readonly [m: number, n: number, k: number];
  /** The fractions of zeros in A and B. */
  readonly zeros: readonly [a: number, b: number];
  readonly alpha?: number;
  readonly beta?: number;
  readonly upper?: boolean;
}

const SPARSE: readonly Case[] = [
  { kernel: "gemm_tn", size: [70, 70, 513], zeros: [0.9, 0.9], beta: 1, upper: true },
  { kernel: "gemm_tn", size: [130, 201, 300], zeros: [0.5, 0], alpha: -0.5 },
  { kernel: "gemm_nt", size: [67, 131, 385], zeros: [0, 0.5] },
  { kernel: "gemm_nt", size: [131, 67, 256], zeros: [0.6, 0], beta: 0.5 },
  { kernel: "gemm_nn", size: [65, 66, 300], zeros: [1, 0], beta: 1 },
  { kernel: "gemm_nt", size: [16, 16, 256], zeros: [0.97, 0.97] },
];
const DENSE: readonly Case[] = [
  { kernel: "gemm_nn", size: [1, 1, 1], zeros: [0, 0] },
  { kernel: "gemm_nt", size: [33, 47, 129], zeros: [0, 0], beta: 1 },
  { kernel: "gemm_tn", size: [129, 131, 401], zeros: [0, 0], upper: true },
];

describe("products on the cpu backend", () => {
  let unpaired: Backend, paired: Backend;
  before(async () => {
    unpaired = await withFlags("", 1);
    paired = await withFlags("--experimental-wasm-revectorize,--no-wasm-bounds-checks", 2);
  });
  after(async () => {
    await unpaired.dispose();
    await paired.dispose();
  });

  it("show in the adapter's name whether instructions are paired", () => {
    assert.equal(unpaired.adapter.name, "WebAssembly SIMD, 1 thread");
    const suffix = Deno.build.arch === "x86_64" ? " in pairs" : "";
    assert.equal(paired.adapter.name, `WebAssembly SIMD${suffix}, 2 threads`);
  });

  it("use the paired variants only if both flags are set", async () => {
    const backend = await withFlags("--experimental-wasm-revectorize", 1);
    assert.equal(backend.adapter.name, "WebAssembly SIMD, 1 thread");
    await backend.dispose();
  });

  for (const options of [...DENSE, ...SPARSE]) {
    const { kernel, size: [m, n, k], zeros, alpha = 1, beta = 0, upper = false } = options;
    it(`match float64 and give the same bits in both variants: ${kernel} ${m}×${n}×${k}, fractions ${zeros.join(" and ")} of zeros in A and B`, async () => {
      const transA = kernel === "gemm_tn", transB = kernel === "gemm_nt";
      const a = withZeros(m * k, zeros[0], 1), b = withZeros(k * n, zeros[1], 2), c = normals(m * n, 3);
      const lda = transA ? m : k, ldb = transB ? k : n;
      const run = async (backend: Backend) => {
        const buffers = { a: upload(backend, a), b: upload(backend, b), c: upload(backend, c) };
        const offsets = { a_offset: 0, b_offset: 0, c_offset: 0 };
        const params = { m, n, k, lda, ldb, ldc: n, ...offsets, alpha, beta, upper: upper ? 1 : 0 };
        backend.dispatch(KERNELS[kernel], buffers, params);
        const result = await downloadF32(backend, buffers.c);
        for (const buffer of Object.values(buffers)) buffer.destroy();
        return result;
      };
      const expected = referenceGemm(
        [m, n, k],
        { values: a, offset: 0, ld: lda, transposed: transA },
        { values: b, offset: 0, ld: ldb, transposed: transB },
        { values: c, offset: 0, ld: n },
        alpha,
        beta,
      );
      const [ours, theirs] = [await run(unpaired), await run(paired)];
      const wanted = [...ours.keys()].filter((i) => !upper || i % n >= Math.floor(i / n));
      // The magnitude of an element is the sum of the absolute values of its terms. An error is divided by the
      // magnitude. If all terms are 0, the error must be exactly 0, and it is divided by 1 instead.
      const errors = wanted.map((i) => (ours[i] - expected.product[i]) / (expected.magnitude[i] || 1));
      assertClose(errors, errors.map(() => 0), 1e-6, { scale: 1 });
      assert.deepEqual(wanted.map((i) => theirs[i]), wanted.map((i) => ours[i]));
    });
  }

  it("choose the sparse method for the same columns in both variants", async () => {
    // B has zeros only from column 72 on. Both variants divide C into blocks of 80 columns (a multiple of 16),
    // so they compute columns 72 to 79 with the dense method. If the unpaired variant used a multiple of 8, its
    // blocks would have 72 columns, and it would compute columns 72 to 79 with the sparse method.
    const m = 16, n = 131, k = 900, dense = 72;
    const values = normals(n * k, 5), next = uniform(6);
    const b = values.map((value, i) => i < dense * k || next() > 0.6 ? value : 0);
    const run = async (backend: Backend) => {
      const buffers = {
        a: upload(backend, normals(m * k, 7)),
        b: upload(backend, b),
        c: upload(backend, normals(m * n, 8)),
      };
      const offsets = { a_offset: 0, b_offset: 0, c_offset: 0 };
      const params = { m, n, k, lda: k, ldb: k, ldc: n, ...offsets, alpha: 1, beta: 0, upper: 0 };
      backend.dispatch(gemmNT, buffers, params);
      const result = await downloadF32(backend, buffers.c);
      for (const buffer of Object.values(buffers)) buffer.destroy();
      return result;
    };
    assert.deepEqual(await run(paired), await run(unpaired));
  });

  it("give the same bits in both variants of attention", async () => {
    const tokens = 77, heads = 2, headDim = 20, width = heads * headDim;
    const run = async (backend: Backend) => {
      const [q, k, v] = [1, 2, 3].map((seed) => upload(backend, normals(tokens * width, seed)));
      const slopes = upload(backend, Float32Array.of(0, 0.1)),
        out = upload(backend, normals(tokens * width, 4));
      backend.dispatch(attention, { q, k, v, slopes, out }, {
        ...{ batch: 1, tokens, past: 0, heads, kv_heads: heads, head_dim: headDim, head_stride: headDim },
        ...{ q_offset: 0, ldq: width, k_offset: 0, ldk: width, v_offset: 0, ldv: width, ldo: width },
        ...{ scale: 0.2, window: 0, soft_cap: 3 },
      });
      const result = await downloadF32(backend, out);
      for (const buffer of [q, k, v, slopes, out]) buffer.destroy();
      return result;
    };
    assert.deepEqual(await run(paired), await run(unpaired));
  });
});

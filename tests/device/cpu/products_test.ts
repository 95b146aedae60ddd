/**
 * Tests the matrix products of the `cpu` backend: gemm with dense and sparse operands, and attention. Each
 * product has two variants. The paired variant is for engines that merge two 128-bit instructions into one of
 * 256 bits (`src/device/cpu/instruction_pairing.ts`), and the unpaired variant is for all other engines. Both
 * variants must give the same bits, and agree with a product in float64.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { attention } from "../../../src/device/kernels/forward/attention.ts";
import { gemmNT } from "../../../src/device/kernels/gemm.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { downloadF32, upload } from "../../support/device.ts";
import { GEMMS, type Product, type ProductKernel, runProduct } from "../../support/products.ts";
import { normals, uniform } from "../../../scripts/fixtures/random.ts";

const FLAGS = "DENO_V8_FLAGS";

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

const [NN, NT, TN] = GEMMS;
const PRODUCTS: readonly (readonly [ProductKernel, Product])[] = [
  [NN, { size: [1, 1, 1] }],
  [NT, { size: [33, 47, 129], beta: 1 }],
  [NN, { size: [517, 65, 386] }],
  [NT, { size: [516, 70, 390], beta: 1 }],
  [TN, { size: [129, 131, 401], upper: 1 }],
  [TN, { size: [70, 70, 513], zeros: [0.9, 0.9], beta: 1, upper: 1 }],
  [TN, { size: [130, 201, 300], zeros: [0.5, 0], alpha: -0.5 }],
  [NT, { size: [67, 131, 385], zeros: [0, 0.5] }],
  [NT, { size: [131, 67, 256], zeros: [0.6, 0], beta: 0.5 }],
  [NN, { size: [65, 66, 300], zeros: [1, 0], beta: 1 }],
  [NT, { size: [16, 16, 256], zeros: [0.97, 0.97] }],
];

const unpaired = await withFlags("", 1);
const paired = await withFlags("--experimental-wasm-revectorize,--no-wasm-bounds-checks", 2);
after(async () => {
  await unpaired.dispose();
  await paired.dispose();
});

describe("products on the cpu backend", () => {
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

  for (const [gemm, product] of PRODUCTS) {
    const { size, zeros = [0, 0] } = product, name = `${gemm.kernel.name} ${size.join("×")}`;
    it(`match float64 and give the same bits in both variants: ${name}, fractions ${zeros.join(" and ")} of zeros in A and B`, async () => {
      const ours = await runProduct(unpaired, gemm, product),
        theirs = await runProduct(paired, gemm, product);
      assertClose(ours.errors, ours.errors.map(() => 0), 1e-6, { scale: 1 });
      assertSame(theirs.elements, ours.elements);
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
    assertSame(await run(paired), await run(unpaired));
  });

  it("give the same bits in both variants of attention", async () => {
    const tokens = 77, heads = 2, headDim = 20, width = heads * headDim;
    const run = async (backend: Backend) => {
      const [q, k, v] = [1, 2, 3].map((seed) => upload(backend, normals(tokens * width, seed)));
      const slopes = upload(backend, Float32Array.of(0, 0.1)),
        out = upload(backend, normals(tokens * width, 4));
      backend.dispatch(attention, { q, k, v, slopes, sinks: slopes, out }, {
        ...{ batch: 1, tokens, past: 0, heads, kv_heads: heads, head_dim: headDim, head_stride: headDim },
        ...{ q_offset: 0, ldq: width, k_offset: 0, ldk: width, v_offset: 0, ldv: width, ldo: width },
        ...{ scale: 0.2, window: 0, soft_cap: 3, chunked: 0, has_sinks: 0 },
      });
      const result = await downloadF32(backend, out);
      for (const buffer of [q, k, v, slopes, out]) buffer.destroy();
      return result;
    };
    assertSame(await run(paired), await run(unpaired));
  });
});

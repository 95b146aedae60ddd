/**
 * Tests that the self-check accepts a right library for products, and refuses one with a planted fault. A stand-in multiplies
 * in JavaScript, so the test needs no library.
 */

import { strictEqual } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import type { Gemm } from "../../../src/device/cpu/products/gemm.ts";
import { PRECISIONS, type ProductLibrary } from "../../../src/device/cpu/products/product_library.ts";
import { ALL_CASES } from "../../../src/host/self_check/cases.ts";
import { selfCheck, SelfCheckError } from "../../../src/host/self_check/self_check.ts";

/** Changes the arguments of a product. */
type Fault = (args: Parameters<Gemm>) => void;

const K = 4, ALPHA = 5, BETA = 10;

/** The faults, as changes of the arguments with which the product is computed. */
const FAULTS: Readonly<Record<string, Fault>> = {
  "the last step of a sum is left out": (args) => args[K]--,
  "A is transposed": (args) => args[0] = 1 - args[0],
  "α is ignored": (args) => args[ALPHA] = 1,
  "β is ignored": (args) => args[BETA] = 0,
};

/** Returns a library that changes the arguments of its products by `fault`. `mask` selects the bits of a bfloat16 operand that count. */
function standIn(
  precision: ProductLibrary["precision"],
  fault: Fault = () => {},
  mask = 0xffff,
): ProductLibrary {
  const multiply = (memory: WebAssembly.Memory, isRounded: boolean): Gemm => (...args) => {
    fault(args);
    const [transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc] = args;
    const bits = new Uint16Array(memory.buffer), floats = new Float32Array(memory.buffer);
    const word = new Uint32Array(1), value = new Float32Array(word.buffer);
    const read = (pointer: number, index: number) => {
      if (!isRounded) return floats[(pointer >>> 2) + index];
      word[0] = (bits[(pointer >>> 1) + index] & mask) << 16;
      return value[0];
    };
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let p = 0; p < k; p++) {
          sum += read(a, transA ? p * lda + i : i * lda + p) * read(b, transB ? j * ldb + p : p * ldb + j);
        }
        const at = (c >>> 2) + i * ldc + j;
        floats[at] = alpha * sum + (beta === 0 ? 0 : beta * floats[at]);
      }
    }
  };
  return {
    path: "stand-in",
    name: `Stand-in in ${precision}`,
    precision,
    gemm: (memory) => ({
      sgemm: multiply(memory, false),
      ...(precision === "bfloat16" && { bgemm: multiply(memory, true) }),
    }),
  };
}

/** The cases of the kernels that call a library. */
const CASES = ALL_CASES.filter(({ subject }) => /^(gemm|product)_/.test(subject));

/** Returns the names of the kernels that the self-check refuses. */
async function refusedKernels(library: ProductLibrary): Promise<readonly string[]> {
  await using cleanup = new AsyncDisposableStack();
  const backend = cleanup.adopt(
    await createCpuBackend({ threads: 0, library }),
    (opened) => opened.dispose(),
  );
  try {
    await selfCheck(backend, CASES, []);
    return [];
  } catch (error) {
    if (!(error instanceof SelfCheckError)) throw error;
    return error.kernels;
  }
}

const PRODUCTS = "product_nn product_nt product_tn", ALL = `gemm_nn gemm_nt gemm_tn ${PRODUCTS}`;

describe("a library for products", () => {
  for (const precision of PRECISIONS) {
    it(`is accepted if its products in ${precision} are right`, async () => {
      strictEqual((await refusedKernels(standIn(precision))).join(" "), "");
    });

    for (const [name, fault] of Object.entries(FAULTS)) {
      it(`in ${precision} is refused if ${name}`, async () => {
        strictEqual((await refusedKernels(standIn(precision, fault))).join(" "), ALL);
      });
    }
  }

  it("is refused if it ignores the last bit of bfloat16 operands", async () => {
    strictEqual((await refusedKernels(standIn("bfloat16", undefined, 0xfffe))).join(" "), PRODUCTS);
  });
});

/**
 * Times the products of one transformer block: those of the forward pass, and the statistics XᵀX of its inputs. Pare multiplies
 * with its own kernels and with every library of the machine, and PyTorch in float32 and bfloat16.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { findProducts } from "../../src/device/cpu/products/find_products.ts";
import { PRECISIONS } from "../../src/device/cpu/products/product_library.ts";
import { productNT, productTN } from "../../src/device/kernels/product.ts";
import { normals } from "../../tests/support/random.ts";
import { LineProcess } from "../processes/line_process.ts";
import type { Bench } from "./bench.ts";
import { markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";
import { peerEnvironment, removeKernelOverrides } from "./torch/peer_environment.ts";
import { candidateTitle, torchCandidates } from "./torch/thread_settings.ts";
import { findTorchBuilds } from "./torch/torch_builds.ts";

/** The rows of the inputs: four windows of 512 tokens. */
const TOKENS = 2048;

/** The products of a block. */
interface Block {
  readonly name: string;
  /** The linear layers: outputs, inputs. */
  readonly linears: readonly (readonly [outputs: number, inputs: number])[];
  /** The widths of the inputs whose statistics are accumulated. */
  readonly statistics: readonly number[];
}

const BLOCKS: readonly Block[] = [
  {
    name: "opt-125m",
    linears: [[768, 768], [768, 768], [768, 768], [768, 768], [3072, 768], [768, 3072]],
    statistics: [768, 768, 768, 3072],
  },
  {
    name: "llama-160m",
    linears: [[768, 768], [768, 768], [768, 768], [768, 768], [3072, 768], [3072, 768], [768, 3072]],
    statistics: [768, 768, 768, 3072],
  },
  {
    name: "narrow, 576 wide",
    linears: [[576, 576], [192, 576], [192, 576], [576, 576], [1536, 576], [1536, 576], [576, 1536]],
    statistics: [576, 576, 576, 1536],
  },
];

/** The rates of one program in GFLOP/s. A product XᵀX counts as half, because it is symmetric. */
interface Rates {
  readonly forward: number;
  readonly statistics: number;
}

/** A program and its rates by the name of the block. */
interface ProgramRates {
  readonly program: string;
  /** The build and the setting of PyTorch that were fastest, by the name of the block. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly rates: Readonly<Record<string, Rates>>;
}

interface ProductsResults {
  readonly programs: readonly ProgramRates[];
}

export const bench: Bench<object, ProductsResults> = {
  description: "the matrix products of a block with every library, beside PyTorch",
  async measure(_options, { save }) {
    removeKernelOverrides();
    const programs: ProgramRates[] = [];
    let name = "";
    for (const library of findProducts({ products: "auto", precisions: PRECISIONS })) {
      const backend = await createCpuBackend({ library });
      name ||= backend.adapter.name;
      try {
        await checkProduct(backend);
        const rates: Record<string, Rates> = {};
        for (const block of BLOCKS) rates[block.name] = await timeBlock(backend, block);
        programs.push({ program: library?.name ?? "own kernels", rates });
      } finally {
        await backend.dispose();
      }
      await save({ backend: "cpu", adapter: name }, { programs });
    }
    for (const dtype of PRECISIONS) programs.push(await timeTorch(dtype));
    await save({ backend: "cpu", adapter: name }, { programs });
    return { programs };
  },
  tables: { rates: ratesTable },
};

/** Times the products of a block. Of each product, the fastest of several runs counts. */
async function timeBlock(backend: Backend, { linears, statistics }: Block): Promise<Rates> {
  let forward = 0, forwardSeconds = 0, sums = 0, sumSeconds = 0;
  for (const [n, k] of linears) {
    forward += 2 * TOKENS * n * k;
    forwardSeconds += await timeProduct(backend, [TOKENS, n, k], false);
  }
  for (const n of statistics) {
    sums += TOKENS * n * n;
    sumSeconds += await timeProduct(backend, [n, n, TOKENS], true);
  }
  return { forward: forward / forwardSeconds / 1e9, statistics: sums / sumSeconds / 1e9 };
}

type Size = readonly [m: number, n: number, k: number];

/** The timings of each product, and the runs in each timing. */
const TIMINGS = 8, RUNS = 3;

/** Returns the seconds of C ← A·Bᵀ, or of the upper triangle of C ← AᵀA with `isStatistics`. */
async function timeProduct(backend: Backend, size: Size, isStatistics: boolean): Promise<number> {
  const product = prepare(backend, size, isStatistics);
  let fastest = Infinity;
  for (let i = 0; i <= TIMINGS; i++) {
    const started = performance.now();
    for (let run = 0; run < RUNS; run++) product.run();
    await backend.finish();
    if (i > 0) fastest = Math.min(fastest, (performance.now() - started) / 1000 / RUNS);
  }
  product.destroy();
  return fastest;
}

function prepare(backend: Backend, [m, n, k]: Size, isStatistics: boolean) {
  const values = { a: normals(m * k, 1), b: normals(isStatistics ? 1 : n * k, 2) };
  const upload = (label: string, floats: Float32Array<ArrayBuffer>) => {
    const buffer = backend.createBuffer(label, floats.byteLength);
    backend.write(buffer, 0, new Uint8Array(floats.buffer));
    return buffer;
  };
  const a = upload("a", values.a), b = upload("b", values.b), c = backend.createBuffer("c", 4 * m * n);
  const lds = isStatistics ? { lda: m, ldb: m, upper: 1 } : { lda: k, ldb: k, upper: 0 };
  const params = { m, n, k, ...lds, a_offset: 0, b_offset: 0, c_offset: 0, ldc: n, alpha: 1, beta: 0 };
  return {
    values,
    c,
    run() {
      // New inputs, which Pare has to round again. The weights of a block stay the same for many batches.
      backend.write(a, 0, new Uint8Array(values.a.buffer, 0, 4));
      backend.dispatch(isStatistics ? productTN : productNT, { a, b: isStatistics ? a : b, c }, params);
    },
    destroy: () => [a, b, c].forEach((buffer) => buffer.destroy()),
  };
}

/** Compares one product with float64. Rounding two operands to bfloat16 changes a product by at most 2⁻⁷ of it, and a little more. */
async function checkProduct(backend: Backend): Promise<void> {
  const [m, n, k] = [64, 48, 300], { values: { a, b }, c, run, destroy } = prepare(backend, [m, n, k], false);
  run();
  const result = new Float32Array((await backend.read(c, 0, 4 * m * n)).buffer);
  const bound = backend.adapter.rounds ? 2 ** -7 + 2 ** -16 : 1e-6;
  for (let i = 0; i < m * n; i++) {
    let sum = 0, size = 0;
    for (let p = 0; p < k; p++) {
      const term = a[Math.floor(i / n) * k + p] * b[(i % n) * k + p];
      sum += term;
      size += Math.abs(term);
    }
    assert.ok(Math.abs(result[i] - sum) <= bound * size, `${backend.adapter.name}: element ${i} is wrong`);
  }
  destroy();
}

/** Times PyTorch in every build and setting, and returns the fastest rates of each block. */
async function timeTorch(dtype: string): Promise<ProgramRates> {
  const settings: Record<string, string> = {}, rates: Record<string, Rates> = {};
  for (const candidate of torchCandidates(await findTorchBuilds())) {
    const script = fileURLToPath(new URL("python/products.py", import.meta.url));
    const program = new LineProcess(candidate.build.python, ["-B", script], {
      env: peerEnvironment(candidate.setting.variables),
      clearEnv: true,
    });
    for (const { name, linears, statistics } of BLOCKS) {
      const request = JSON.stringify({ dtype, tokens: TOKENS, linears, statistics });
      const measured: Rates = JSON.parse(await program.ask(request));
      if (
        measured.forward + measured.statistics <= (rates[name]?.forward ?? 0) + (rates[name]?.statistics ?? 0)
      ) {
        continue;
      }
      rates[name] = measured;
      settings[name] = candidateTitle(candidate);
    }
    await program.stop();
  }
  return { program: `PyTorch in ${dtype}`, settings, rates };
}

function ratesTable({ programs }: ProductsResults): string {
  const rate = (block: string, kind: keyof Rates) => ({ rates }: ProgramRates) =>
    rates[block] ? String(Math.round(rates[block][kind])) : NOT_MEASURED;
  return markdownTable<ProgramRates>([
    ["GFLOP/s", ({ program }) => program],
    ...BLOCKS.flatMap(({ name }) =>
      (["forward", "statistics"] as const).map((kind) => [`${name}: ${kind}`, rate(name, kind)] as const)
    ),
  ], programs).replace("| --: |", "| --- |");
}

import type { Backend } from "../../backend.ts";
import { productNT, productTN } from "../../kernels/product.ts";
import { createCpuBackend } from "../backend.ts";
import { loadModule } from "../module.ts";
import type { ProductLibrary } from "./product_library.ts";

/** Code that multiplies matrices. */
export interface Products {
  /** Absent for Pare's own WebAssembly. */
  readonly library?: ProductLibrary;
  /** The rate of one thread in GFLOP/s. Absent if there was nothing to compare it with. */
  readonly gflops?: number;
}

/**
 * How many times as fast as Pare's own WebAssembly a library must be, because it makes runs depend on the machine. The
 * measured products are small. A library that is 1.2 times as fast at them can be 1.5 times as fast at those of a large layer.
 */
export const WORTHWHILE = 1.15;
/** The duration of all measurements together, unless {@link LEAST_RUNS} take longer. */
const MILLISECONDS = 200;
/** The least number of runs of each product. During the first ones, V8 still compiles the kernels. */
const LEAST_RUNS = 12;

/**
 * The products that are measured: one of the forward pass of a small model and one of its statistics. They take about a
 * millisecond, so that some runs are not interrupted even if other programs use all processors.
 */
const SHAPES = [
  { kernel: productNT, m: 128, n: 768, k: 576, upper: 0 },
  { kernel: productTN, m: 576, n: 576, k: 128, upper: 1 },
];
const FLOPS = SHAPES.reduce((sum, { m, n, k, upper }) => sum + m * n * k * (upper ? 1 : 2), 0);

/**
 * Measures `libraries` and returns them from the fastest to the slowest. They take turns, and the fastest run of each
 * product counts, because other programs only slow a run down. Pare's own WebAssembly, undefined, is preferred to a
 * library that is not faster by {@link WORTHWHILE}.
 */
export async function rankProducts(libraries: readonly (ProductLibrary | undefined)[]): Promise<Products[]> {
  if (libraries.length < 2) return libraries.map((library) => ({ library }));
  await using cleanup = new AsyncDisposableStack();
  const module = await loadModule(false), trials: { library?: ProductLibrary; runs: (() => void)[] }[] = [];
  for (const library of libraries) {
    const backend = cleanup.adopt(
      await createCpuBackend({ threads: 0, module, library }),
      (opened) => opened.dispose(),
    );
    trials.push({ library, runs: SHAPES.map((shape) => prepare(backend, shape)) });
  }
  const fastest = trials.map(({ runs }) => runs.map(() => Infinity)), end = performance.now() + MILLISECONDS;
  for (let round = 0; round < LEAST_RUNS || performance.now() < end; round++) {
    for (const [i, { runs }] of trials.entries()) {
      for (const [j, run] of runs.entries()) {
        const started = performance.now();
        run();
        fastest[i][j] = Math.min(fastest[i][j], performance.now() - started);
      }
    }
  }
  const rates = fastest.map((milliseconds) => FLOPS / milliseconds.reduce((sum, part) => sum + part) / 1e6);
  const score = ({ library, gflops }: Required<Products>) => gflops * (library ? 1 : WORTHWHILE);
  return trials.map(({ library }, i) => ({ library, gflops: rates[i] }) as Required<Products>)
    .sort((x, y) => score(y) - score(x));
}

/** Allocates the operands of a product, and returns the function that computes it on the calling thread. */
function prepare(backend: Backend, { kernel, m, n, k, upper }: typeof SHAPES[number]): () => void {
  const [a, b, c] = [m * k, n * k, m * n].map((size) => backend.createBuffer("operand", 4 * size));
  for (const buffer of [a, b]) backend.write(buffer, 0, operand(buffer.byteLength / 4));
  const isTransposed = kernel === productTN,
    lds = { lda: isTransposed ? m : k, ldb: isTransposed ? n : k, ldc: n };
  const params = { m, n, k, ...lds, a_offset: 0, b_offset: 0, c_offset: 0, alpha: 1, beta: 0, upper };
  return () => backend.dispatch(kernel, { a, b, c }, params);
}

/** Returns the bytes of `count` floats between 1 and 2. A product of zeros would take another path. */
function operand(count: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Float32Array.from({ length: count }, (_, i) => 1 + (i * 37 % 101) / 101).buffer);
}

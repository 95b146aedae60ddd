/** Pruning and rounding in one pass on every backend, compared with the published algorithm in float64. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { type Backend, OutOfDeviceMemoryError } from "../../src/backend/backend.ts";
import { readMatrix } from "../../src/backend/tiled_matrix.ts";
import { tileEdgeFor } from "../../src/linalg/blocking.ts";
import { factor } from "../../src/linalg/factor.ts";
import type { QuantizationOptions } from "../../src/quantization/quantization.ts";
import type { Solution, SparseGptOptions } from "../../src/solvers/solver.ts";
import { solveSparseGpt } from "../../src/solvers/sparsegpt.ts";
import type { Pattern } from "../../src/sparsity/pattern.ts";
import { type GptqOptions, referenceActivationOrder, referenceGptq } from "../reference/gptq.ts";
import { referenceFactor } from "../reference/sparsegpt.ts";
import { eachBackend } from "../support/backends.ts";
import { upload } from "../support/device.ts";
import { type HostLayer, makeLayer, packForced, uploadHessian, uploadLayer } from "../support/layers.ts";
import { uniform } from "../support/random.ts";
import { failingAllocation } from "../support/limited_backend.ts";
import { assertRounded, readRounded } from "../support/rounded_solutions.ts";

const DAMPING = 0.01;
const UNSTRUCTURED: Pattern = { kind: "unstructured" };
const TWO_OF_FOUR: Pattern = { kind: "n:m", keep: 2, group: 4 };

/**
 * A solve. If `edge` is given, the tiles are so small that there are several. `fixedMask` (rows, cols) is 1
 * where an entry is kept.
 */
interface Case {
  readonly host: HostLayer;
  readonly blocksize: number;
  readonly edge?: number;
  readonly sparsity?: number;
  readonly pattern?: Pattern;
  readonly quantization: Omit<QuantizationOptions, "order">;
  /** The default is `natural`. */
  readonly order?: QuantizationOptions["order"];
  readonly fixedMask?: Uint8Array;
}

/** Solves, passes the solution to `use`, frees everything, and asserts that nothing stays allocated. */
async function solve(
  backend: Backend,
  { host, blocksize, edge = tileEdgeFor(blocksize), sparsity = 0.5, pattern = UNSTRUCTURED, ...rest }: Case,
  use: (solution: Solution, damping: number) => Promise<void>,
): Promise<void> {
  const { rows, cols } = host, order = rest.order ?? "natural", live = backend.counters.bytesLive;
  const factored = await factor(backend, uploadHessian(backend, host.hessian, cols, edge), {
    damping: DAMPING,
    blocksize,
    order,
  });
  const layer = uploadLayer(backend, host, edge);
  const fixedMask = rest.fixedMask && upload(backend, packForced(rest.fixedMask, rows, cols));
  const options: SparseGptOptions = {
    sparsity,
    pattern,
    relativeError: true,
    quantization: { ...rest.quantization, order },
    fixedMask,
  };
  const solution = await solveSparseGpt(backend, layer, factored, options);
  await use(solution, factored.damping);
  for (const resource of [solution, layer, factored]) resource.destroy();
  fixedMask?.destroy();
  assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
}

/** Solves and compares with the reference. */
async function check(backend: Backend, solved: Case): Promise<void> {
  const { host, blocksize, sparsity = 0.5, pattern = UNSTRUCTURED, quantization, fixedMask } = solved;
  const groups = pattern.kind === "n:m" ? pattern : undefined;
  const options: GptqOptions = { ...quantization, sparsity, groups, blocksize, fixedMask };
  await solve(backend, solved, async (solution, damping) => {
    const natural = solved.order === "activation"
      ? undefined
      : referenceFactor(host.hessian, host.cols, damping);
    const rounded = await readRounded(backend, solution, quantization);
    assertRounded(
      solution,
      rounded,
      (more) =>
        natural
          ? referenceGptq(host, natural, { ...options, ...more })
          : referenceActivationOrder(host, damping, { ...options, ...more }),
    );
    if (fixedMask) assert.deepEqual(rounded.mask, fixedMask);
  });
}

const ROWS = { groupSize: 0, symmetric: false };

eachBackend("solveSparseGpt() with quantization", (backend) => {
  for (const bits of [2, 3, 4, 8]) {
    it(`prunes half of the weights and rounds the others to ${bits}-bit grids of their rows`, async () => {
      const quantization = { ...ROWS, bits };
      await check(backend(), { host: makeLayer(1, 1, { seed: 1 }), blocksize: 128, quantization });
      await check(backend(), { host: makeLayer(7, 5, { seed: 2 }), blocksize: 128, quantization });
      await check(backend(), { host: makeLayer(127, 129, { seed: 3 }), blocksize: 128, quantization });
    });
  }

  for (const pattern of [UNSTRUCTURED, TWO_OF_FOUR]) {
    for (const symmetric of [false, true]) {
      for (const groupSize of [0, 8, 48]) {
        const grids = `${symmetric ? "symmetric" : "asymmetric"} grids of ${groupSize || "all"} columns`;
        it(`rounds to ${grids} in several tiles and with dead inputs (${pattern.kind})`, async () => {
          const host = makeLayer(150, 203, { seed: 4, dead: [0, 3, 77, 202] });
          const quantization = { bits: 4, groupSize, symmetric };
          await check(backend(), { host, blocksize: 48, edge: 96, pattern, quantization });
        });
      }
    }
  }

  it("equals GPTQ at sparsity 0, where every weight is rounded", async () => {
    const host = makeLayer(60, 172, { seed: 5, dead: [9] });
    for (const groupSize of [0, 32]) {
      const quantization = { bits: 3, symmetric: false, groupSize };
      await check(backend(), { host, blocksize: 64, edge: 64, sparsity: 0, quantization });
    }
  });

  for (const pattern of [UNSTRUCTURED, TWO_OF_FOUR]) {
    it(`keeps exactly the entries of a fixed mask, whatever sparsity and pattern are (${pattern.kind})`, async () => {
      const next = uniform(6), host = makeLayer(70, 203, { seed: 6 });
      const forced = Uint8Array.from({ length: 70 * 203 }, () => next() < 0.1 ? 1 : 0);
      const fixedMask = Uint8Array.from({ length: 70 * 203 }, (_, i) => i < 203 || next() < 0.6 ? 1 : 0);
      for (const groupSize of [0, 16]) {
        const quantization = { bits: 4, symmetric: false, groupSize };
        const solved = {
          host: { ...host, forced },
          blocksize: 48,
          edge: 96,
          pattern,
          quantization,
          fixedMask,
        };
        await check(backend(), solved);
      }
    });
  }

  for (const [pattern, sparsity] of [[UNSTRUCTURED, 0.5], [UNSTRUCTURED, 0], [TWO_OF_FOUR, 0]] as const) {
    it(`prunes forced entries (${pattern.kind}, sparsity ${sparsity})`, async () => {
      const next = uniform(8), rows = 60, cols = 150;
      const forced = Uint8Array.from(
        { length: rows * cols },
        (_, i) => i < cols || (i % cols < 40 && i % 5 < 4) || next() < 0.03 ? 1 : 0,
      );
      const host = { ...makeLayer(rows, cols, { seed: 7 }), forced };
      const quantization = { ...ROWS, bits: 4 };
      await check(backend(), { host, blocksize: 32, edge: 64, pattern, sparsity, quantization });
      await solve(backend(), { host, blocksize: 32, pattern, sparsity, quantization }, async (solution) => {
        const { mask } = await readRounded(backend(), solution, quantization);
        forced.forEach((flag, i) => assert.ok(!(flag && mask[i]), `forced entry ${i} is kept`));
      });
    });
  }

  for (const [bits, symmetric, sparsity] of [[4, false, 0.5], [3, true, 0.5], [4, false, 0]] as const) {
    const grids = `${symmetric ? "symmetric" : "asymmetric"} ${bits}-bit grids`;
    it(`rounds in activation order at sparsity ${sparsity} with ${grids}, and returns the natural order`, async () => {
      const host = makeLayer(70, 203, { seed: 14, dead: [0, 50] }),
        quantization = { ...ROWS, bits, symmetric };
      const order = "activation", next = uniform(15);
      await check(backend(), { host, blocksize: 48, edge: 96, sparsity, quantization, order });
      const forced = Uint8Array.from({ length: 70 * 203 }, (_, i) => i < 203 || next() < 0.1 ? 1 : 0);
      const fixedMask = Uint8Array.from({ length: 70 * 203 }, () => next() < 0.6 ? 1 : 0);
      await check(backend(), {
        host: { ...host, forced },
        blocksize: 48,
        edge: 96,
        sparsity,
        quantization,
        order,
      });
      await check(backend(), { host, blocksize: 48, edge: 96, quantization, order, fixedMask });
    });
  }

  it("raises the damping if the statistics are not positive definite, and rounds with it", async () => {
    const cols = 70, host = makeLayer(30, cols, { seed: 17 });
    host.hessian.fill(0);
    for (let j = 0; j < cols; j++) host.hessian[j * (cols + 1)] = 1;
    host.hessian[3 * cols + 40] = host.hessian[40 * cols + 3] = 1.05;
    for (const order of ["natural", "activation"] as const) {
      const solved = { host, blocksize: 32, edge: 64, quantization: { ...ROWS, bits: 4 }, order };
      await check(backend(), solved);
      await solve(backend(), solved, (_solution, damping) => {
        assert.equal(damping, 0.1);
        return Promise.resolve();
      });
    }
  });

  it("overwrites the weight with Δ = W − Q in natural order", async () => {
    const host = makeLayer(20, 70, { seed: 16 });
    for (const order of ["natural", "activation"] as const) {
      const hessian = uploadHessian(backend(), host.hessian, 70, 64);
      const factored = await factor(backend(), hessian, { damping: DAMPING, blocksize: 32, order });
      const layer = uploadLayer(backend(), host, 64);
      const solution = await solveSparseGpt(backend(), layer, factored, {
        sparsity: 0.5,
        pattern: UNSTRUCTURED,
        relativeError: false,
        quantization: { ...ROWS, bits: 4, order },
      });
      const q = await readMatrix(backend(), solution.q), delta = await readMatrix(backend(), layer.weight);
      assert.deepEqual(delta, host.weight.map((value, i) => value - q[i]));
      for (const resource of [solution, layer, factored]) resource.destroy();
    }
  });

  it("accepts columns that end within a group of the pattern and within a grid", async () => {
    const host = makeLayer(33, 103, { seed: 9 }), pattern: Pattern = { kind: "n:m", keep: 3, group: 5 };
    const quantization = { bits: 4, symmetric: false, groupSize: 20 };
    await check(backend(), { host, blocksize: 40, edge: 80, pattern, quantization });
  });

  it("computes the codes of integer weights exactly if the inputs are not correlated", async () => {
    // H is a multiple of I, so nothing is updated. The largest weight of each row is 7·scale with a power of two.
    const rows = 20, cols = 96, next = uniform(10);
    const weight = Float32Array.from({ length: rows * cols }, (_, i) => {
      const r = Math.floor(i / cols), c = i % cols;
      return (c === 0 ? 7 : c === 1 ? -8 : Math.floor(next() * 16) - 8) * 2 ** (r % 5 - 2);
    });
    const hessian = Float32Array.from({ length: cols * cols }, (_, i) => i % (cols + 1) === 0 ? 2 : 0);
    const quantization = { ...ROWS, bits: 4 };
    const solved = {
      host: { rows, cols, weight, hessian },
      blocksize: 32,
      edge: 64,
      sparsity: 0,
      quantization,
    };
    await solve(backend(), solved, async (solution) => {
      const { q, scales, zeros } = await readRounded(backend(), solution, quantization);
      assert.deepEqual(q, weight);
      assert.deepEqual([...scales], Array.from({ length: rows }, (_, r) => 2 ** (r % 5 - 2)));
      assert.deepEqual([...zeros], Array(rows).fill(8));
      assert.equal(solution.loss, 0);
    });
  });

  it("rounds a layer of zeros to zeros with the scale 1", async () => {
    const host = { ...makeLayer(9, 40, { seed: 11 }), weight: new Float32Array(360) };
    for (const symmetric of [false, true]) {
      const quantization = { bits: 4, symmetric, groupSize: 0 };
      await solve(backend(), { host, blocksize: 32, quantization }, async (solution) => {
        const { q, scales } = await readRounded(backend(), solution, quantization);
        assert.deepEqual(q, host.weight);
        assert.deepEqual([...scales], Array(9).fill(1));
        assert.deepEqual([solution.loss, solution.relativeError], [0, 0]);
      });
    }
  });

  it("computes the same bits in every run", async () => {
    const host = makeLayer(100, 172, { seed: 12 }), runs: unknown[] = [];
    for (let run = 0; run < 2; run++) {
      const quantization = { bits: 4, symmetric: false, groupSize: 32 };
      await solve(backend(), { host, blocksize: 64, edge: 128, quantization }, async (solution) => {
        runs.push([await readRounded(backend(), solution, quantization), solution.loss]);
      });
    }
    assert.deepEqual(runs[0], runs[1]);
  });

  for (const order of ["natural", "activation"] as const) {
    it(`frees everything if any of its buffers cannot be allocated (${order} order)`, async () => {
      const host = { ...makeLayer(8, 70, { seed: 18 }), forced: new Uint8Array(560) };
      const quantization = { ...ROWS, bits: 4, order };
      let failures = 0;
      for (let solved = false; !solved; failures++) {
        const live = backend().counters.bytesLive;
        const limited = failingAllocation(backend(), failures);
        const factored = await factor(backend(), uploadHessian(backend(), host.hessian, 70, 64), {
          damping: DAMPING,
          blocksize: 32,
          order,
        });
        const layer = uploadLayer(backend(), host, 64);
        const options = { sparsity: 0.5, pattern: UNSTRUCTURED, relativeError: true, quantization };
        try {
          (await solveSparseGpt(limited, layer, factored, options)).destroy();
          solved = true;
        } catch (error) {
          assert.ok(error instanceof OutOfDeviceMemoryError);
        }
        for (const resource of [layer, factored]) resource.destroy();
        assert.equal(backend().counters.bytesLive, live, `bytes left after allocation ${failures} failed`);
      }
      assert.ok(failures > 10, `only ${failures} allocations`);
    });
  }

  it("refuses options that cannot be combined, with the parameter, the rule and the value, and frees everything", async () => {
    const host = makeLayer(8, 70, { seed: 13 }), live = backend().counters.bytesLive;
    const factored = await factor(backend(), uploadHessian(backend(), host.hessian, 70, 64), {
      damping: DAMPING,
      blocksize: 32,
    });
    const layer = uploadLayer(backend(), host, 64), tooShort = backend().createBuffer("mask", 8);
    const base: QuantizationOptions = { bits: 4, groupSize: 0, symmetric: false, order: "natural" };
    const wrong: [Partial<SparseGptOptions>, RegExp][] = [
      [{ quantization: { ...base, bits: 9 } }, /^bits 9: must be an integer from 2 to 8$/],
      [{ quantization: { ...base, bits: 1 } }, /^bits 1: /],
      [{ quantization: { ...base, groupSize: -1 } }, /^group_size -1: must be a positive integer/],
      [
        { quantization: { ...base, groupSize: 48 } },
        /^group_size 48: must divide the block size, which is 32$/,
      ],
      [
        { quantization: { ...base, groupSize: 2 }, pattern: TWO_OF_FOUR },
        /^group_size 2: must be a multiple of 4, the group size of the pattern$/,
      ],
      [
        { quantization: { ...base, order: "activation" }, pattern: TWO_OF_FOUR },
        /^order activation: .* n:m pattern/,
      ],
      [
        { quantization: { ...base, order: "activation", groupSize: 16 } },
        /^order activation: .* group_size is 16$/,
      ],
      [{ quantization: { ...base, order: "activation" } }, /^order activation: needs a factor in this order/],
      [{ quantization: base, fixedMask: tooShort }, /^a fixed mask of 8 bytes: must have 96 bytes/],
      [{ fixedMask: tooShort }, /^a fixed mask: needs quantization/],
    ];
    for (const [options, message] of wrong) {
      await assert.rejects(
        solveSparseGpt(backend(), layer, factored, {
          sparsity: 0.5,
          pattern: UNSTRUCTURED,
          relativeError: false,
          ...options,
        }),
        { name: "RangeError", message },
      );
    }
    for (const resource of [layer, factored, tooShort]) resource.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });
});

/**
 * Compares the floating-point operations that a run dispatches with the least that the method needs: one pass of all windows
 * through each dense block without its last product, one pass through each pruned block but the last, and the upper triangle of
 * Σ x·xᵀ once for every input that layers share. The solvers are not counted.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { type Model, openModel } from "../../src/model/model.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { pruneInMemory } from "../../src/prune/run/in_memory.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";
import { openFixture } from "../support/fixture_models.ts";
import { withOverrides } from "../../scripts/self_check/faults/with_dispatch.ts";
import { openOptSotu, sotuTokens } from "../support/opt_sotu.ts";

/** The part of the run that may be computed in vain, relative to the least. */
const MOST = 1.05;

/** The flops of the parts of a calibration. A multiplication and an addition are two operations. */
interface Flops {
  /** The products of the linear layers, and of the routers of a mixture. */
  forward: number;
  attention: number;
  statistics: number;
}

/** The sizes of a model's blocks, all of which are the same, and of the calibration windows. */
interface Sizes {
  readonly blocks: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly intermediate: number;
  /** Whether the feed-forward network has two layers that share its input. */
  readonly isGated: boolean;
  /** The experts, and how many of them each token goes to. */
  readonly mixture?: { readonly experts: number; readonly perToken: number };
  readonly windows: number;
  readonly tokens: number;
}

/** The least flops of a run on a model of these sizes. */
function leastFlops(sizes: Sizes): Flops {
  const { blocks, hidden, heads, kvHeads, headDim, intermediate, isGated, mixture, windows, tokens } = sizes;
  const rows = windows * tokens, qColumns = heads * headDim, passes = 2 * blocks - 1;
  const feedForwardRows = rows * (mixture?.perToken ?? 1);
  const down = 2 * feedForwardRows * intermediate * hidden;
  const others = 2 * rows * hidden * (2 * qColumns + 2 * kvHeads * headDim + (mixture?.experts ?? 0)) +
    (isGated ? 2 : 1) * 2 * feedForwardRows * hidden * intermediate;
  const triangle = (count: number, size: number) => count * size * (size + 1);
  const inputs = triangle(rows, hidden) + triangle(rows, qColumns) +
    triangle(feedForwardRows, hidden) + triangle(feedForwardRows, intermediate);
  return {
    // The pass whose outputs are not needed computes all layers but the last.
    forward: passes * others + (blocks - 1) * down,
    attention: passes * causalFlops(windows, tokens, heads, headDim),
    statistics: blocks * inputs,
  };
}

/** The flops of the scores q·kᵀ and of their products with v. Token t sees t + 1 tokens. */
function causalFlops(windows: number, tokens: number, heads: number, headDim: number): number {
  return windows * heads * tokens * (tokens + 1) / 2 * 4 * headDim;
}

/** Wraps a backend so that the flops of its products are added to `flops`. */
function counting(backend: Backend, flops: Flops): Backend {
  return withOverrides(backend, {
    dispatch(kernel, buffers, params) {
      const { m, n, k, upper, batch, tokens, past, window, heads, head_dim } = params as Record<
        string,
        number
      >;
      if (kernel.name === "product_nt") {
        assert.equal(upper, 0);
        flops.forward += 2 * m * n * k;
      } else if (kernel.name === "product_tn") {
        // With `upper` 1, the elements of the square matrix below its diagonal are not needed.
        assert.ok(upper === 0 || (upper === 1 && m === n));
        flops.statistics += (upper ? n * (n + 1) : 2 * m * n) * k;
      } else if (kernel.name === "attention") {
        assert.deepEqual({ past, window }, { past: 0, window: 0 });
        flops.attention += causalFlops(batch, tokens, heads, head_dim);
      }
      backend.dispatch(kernel, buffers, params);
    },
  });
}

const sotu = await sotuTokens("calibration");
const sotuWindows = [0, 1, 2].map((i) => sotu.subarray(i * 64, (i + 1) * 64));
const SMALL = { blocks: 4, hidden: 192, windows: 3, tokens: 64 };

interface CountedModel {
  readonly name: string;
  readonly sizes: Sizes;
  open(): Promise<{ model: Model; windows: readonly Uint32Array[]; close(): Promise<void> }>;
}

const MODELS: readonly CountedModel[] = [
  {
    name: "opt-sotu",
    sizes: { ...SMALL, heads: 6, kvHeads: 6, headDim: 32, intermediate: 768, isGated: false },
    async open() {
      const checkpoint = await openOptSotu();
      return { model: openModel(checkpoint), windows: sotuWindows, close: () => checkpoint.close() };
    },
  },
  {
    name: "llama-sotu",
    sizes: { ...SMALL, heads: 6, kvHeads: 2, headDim: 32, intermediate: 512, isGated: true },
    async open() {
      const checkpoint = await openFixture("llama-sotu");
      return { model: openModel(checkpoint), windows: sotuWindows, close: () => checkpoint.close() };
    },
  },
  {
    name: "a Mixtral with two of four experts",
    sizes: {
      ...{ blocks: 2, hidden: 16, heads: 4, kvHeads: 2, headDim: 4, intermediate: 20, isGated: true },
      ...{ mixture: { experts: 4, perToken: 2 }, windows: 2, tokens: 19 },
    },
    async open() {
      const { windows, variants } = await readFamilyFixture("mixtral");
      const { model } = variants.find(({ name }) => name === "with two of four experts")!;
      return { model, windows, close: () => Promise.resolve() };
    },
  },
];

const backend = await createCpuBackend();
after(() => backend.dispose());

describe("pruneInMemory", () => {
  for (const { name, sizes, open } of MODELS) {
    it(`dispatches no more products for ${name} than the method needs`, async () => {
      const flops: Flops = { forward: 0, attention: 0, statistics: 0 };
      const { model, windows, close } = await open();
      try {
        const counted = counting(backend, flops), pruner = new DevicePruner(backend);
        await pruneInMemory(model, { method: "sparsegpt" }, { windows, backend: counted, pruner });
      } finally {
        await close();
      }
      const least = leastFlops(sizes), report = JSON.stringify({ flops, least });
      for (const part of ["forward", "attention", "statistics"] as const) {
        // Fewer operations than the least would mean that the run has left something out, or that the count is wrong.
        assert.ok(flops[part] >= least[part], `${part}: ${report}`);
      }
      const total = ({ forward, attention, statistics }: Flops) => forward + attention + statistics;
      assert.ok(total(flops) <= MOST * total(least), report);
    });
  }
});

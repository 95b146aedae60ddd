/**
 * Prunes two small trained models with products in bfloat16 and in float32. The perplexities must agree within 0.5 %,
 * whichever products measure them.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { findProducts } from "../../src/device/cpu/products/find_products.ts";
import type { ProductLibrary } from "../../src/device/cpu/products/product_library.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { type Model, openModel } from "../../src/model/model.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { pruneInMemory } from "../../src/prune/run/in_memory.ts";
import { openFixture } from "../support/fixture_models.ts";
import { openOptSotu, sotuTokens } from "../support/opt_sotu.ts";

const calibration = calibrationWindows(await sotuTokens("calibration"), { windows: 32, seqlen: 256 });
const evaluation = await sotuTokens("evaluation");

/** The largest relative difference between two perplexities. */
const TOLERANCE = 0.005;

const TARGETS = [{ sparsity: 0.5 }, { pattern: "2:4" }] as const;
const MODELS = { "opt-sotu": openOptSotu, "llama-sotu": () => openFixture("llama-sotu") };

function findLibrary(): ProductLibrary | undefined {
  try {
    return findProducts({ products: "auto", precisions: ["bfloat16"] })[0];
  } catch {
    return undefined;
  }
}

const library = findLibrary(),
  skip = library ? false : "no installed library multiplies bfloat16 on this processor";

describe(`pruning with products in bfloat16${skip ? ` is skipped: ${skip}` : ""}`, { skip }, () => {
  for (const [name, open] of Object.entries(MODELS)) {
    for (const target of TARGETS) {
      it(`gives the perplexity of float32: ${name}, ${Object.values(target)}`, async () => {
        await using cleanup = new AsyncDisposableStack();
        const openBackend = async (library?: ProductLibrary) =>
          cleanup.adopt(await createCpuBackend({ library }), (opened) => opened.dispose());
        const float32 = await openBackend(), bfloat16 = await openBackend(library);
        const checkpoint = await open();
        cleanup.defer(() => checkpoint.close());
        const dense = openModel(checkpoint);
        const measure = async (model: Model, backend: Backend) =>
          (await computePerplexity(model, backend, evaluation, { seqlen: 256, windows: 24 })).perplexity;
        const prune = (backend: Backend) =>
          pruneInMemory(dense, { ...target, method: "sparsegpt" }, {
            pruner: new DevicePruner(backend),
            backend,
            windows: calibration,
          });
        const pruned = { float32: await prune(float32), bfloat16: await prune(bfloat16) };
        const perplexities = {
          dense: await measure(dense, float32),
          denseInBfloat16: await measure(dense, bfloat16),
          prunedInFloat32: await measure(pruned.float32, float32),
          prunedInBfloat16: await measure(pruned.bfloat16, float32),
          bothInBfloat16: await measure(pruned.bfloat16, bfloat16),
        };
        console.log(name, target, perplexities);
        const { dense: exact, denseInBfloat16, prunedInFloat32, prunedInBfloat16, bothInBfloat16 } =
          perplexities;
        const pairs = [[denseInBfloat16, exact], [prunedInBfloat16, prunedInFloat32], [
          bothInBfloat16,
          prunedInFloat32,
        ]];
        for (const [rounded, expected] of pairs) {
          assert.ok(Math.abs(rounded / expected - 1) <= TOLERANCE, JSON.stringify(perplexities));
        }
      });
    }
  }
});

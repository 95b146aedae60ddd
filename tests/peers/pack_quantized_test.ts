/**
 * The libraries transformers and compressed-tensors load the quantised checkpoints that Pare writes, and compute the same
 * logits as from the dense checkpoints. `deno task peers:venv` installs the libraries.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { LineProcess } from "../../scripts/bench/torch/line_process.ts";
import { PEERS_PYTHON, peersSkipReason } from "../../scripts/peers/venv.ts";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { openCopy } from "../../src/checkpoint/open_copy.ts";
import { stemOf } from "../../src/checkpoint/packed/format.ts";
import { packWeight } from "../../src/checkpoint/quantized/pack_weight.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openModel } from "../../src/models/model.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { bytesToFloats } from "../../src/tensor/convert.ts";
import type { FloatDtype } from "../../src/tensor/dtype.ts";
import type { QuantizationGrid } from "../../src/tensor/quantized_weight.ts";
import { type GriddedWeight, writeQuantizedFolder } from "../support/quantized_checkpoints.ts";
import { quantize } from "../support/quantized_weights.ts";
import { uniform } from "../support/random.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/peers/compare_quantized.py", import.meta.url));
const MODELS = fileURLToPath(new URL("../fixtures/models/", import.meta.url));
const TOKENS = [[1, 300, 2, 45, 1999, 8, 77, 512], [5, 4, 3, 2047, 1024, 9, 640, 11]];

/** The answer of `compare_quantized.py`. */
interface Comparison {
  readonly max_logit_difference: number;
  readonly largest_logit: number;
  readonly layers: Readonly<
    Record<string, { readonly equal: boolean; readonly zeros: number; readonly repacked: boolean }>
  >;
  readonly linear: number;
  readonly versions: Readonly<Record<string, string>>;
}

/** Returns the grid of a layer, or undefined if the layer stays dense. */
type GridOf = (name: string) => QuantizationGrid | undefined;

function grid(bits: number, groupSize: number, symmetric: boolean): QuantizationGrid {
  return { bits, groupSize, symmetric };
}

const skip = await peersSkipReason();

let folder: string, peer: LineProcess;
before(async () => {
  folder = await Deno.makeTempDir({ prefix: "pare-test-" });
  if (!skip) peer = new LineProcess(PEERS_PYTHON, ["-B", SCRIPT], { HF_HUB_OFFLINE: "1" });
});
after(async () => {
  if (!skip) await peer.stop();
  await Deno.remove(folder, { recursive: true });
});

/** A quantised copy of a model, the number of zeros of each quantised weight, and the number of layers that stay dense. */
interface WrittenModel {
  readonly dense: string;
  readonly quantized: string;
  readonly zeros: Readonly<Record<string, number>>;
  readonly ignored: number;
}

/** Rounds the linear layers of a fixture model, with half of the weights zero, and writes the dense and the quantised copy. */
async function writeModel(model: string, title: string, gridOf: GridOf): Promise<WrittenModel> {
  const dense = `${folder}/${title} dense`, quantized = `${folder}/${title} quantized`;
  const weights: Record<string, GriddedWeight> = {}, zeros: Record<string, number> = {};
  const ignore = ["lm_head"];
  const source = await openCheckpoint(MODELS + model, denoFileSystem);
  try {
    const copy = await openCopy(source, dense, denoFileSystem);
    for (const [index, { name }] of linearLayers(openModel(source).spec).entries()) {
      const layerGrid = gridOf(name);
      if (!layerGrid) {
        ignore.push(stemOf(name));
        continue;
      }
      const { dtype, shape: [rows, cols], data } = await source.tensor(name), next = uniform(index);
      const pruned = Array.from({ length: rows * cols }, () => next() < 0.5);
      const values = bytesToFloats(data, dtype as FloatDtype);
      const quantizedWeight = quantize(values, [rows, cols], layerGrid, (i) => pruned[i]);
      weights[name] = { quantized: quantizedWeight, grid: layerGrid, dtype: dtype as FloatDtype };
      const packed = packWeight(quantizedWeight, layerGrid, dtype as FloatDtype);
      await copy.replace(name, packed.dense);
      zeros[name] = bytesToFloats(packed.dense.data, dtype as FloatDtype).filter((value) =>
        value === 0
      ).length;
      assert.ok(zeros[name] >= pruned.filter(Boolean).length);
    }
    await (await copy.complete()).publish();
  } finally {
    await source.close();
  }
  await writeQuantizedFolder(dense, quantized, weights, ignore);
  return { dense, quantized, zeros, ignored: ignore.length };
}

async function assertLoads(model: string, title: string, gridOf: GridOf): Promise<Comparison> {
  const { dense, quantized, zeros, ignored } = await writeModel(model, title, gridOf);
  const comparison: Comparison & { readonly error?: string } = JSON.parse(
    await peer.ask(JSON.stringify({ quantized, dense, tokens: TOKENS })),
  );
  if (comparison.error) throw new Error(comparison.error);
  const { layers, largest_logit, max_logit_difference, linear } = comparison;
  assert.deepEqual(Object.keys(layers).toSorted(), Object.keys(zeros).toSorted());
  assert.equal(linear, Object.keys(zeros).length + ignored);
  for (const [name, layer] of Object.entries(layers)) {
    assert.ok(layer.equal, `${name} has other bits than the dense weight`);
    assert.equal(layer.zeros, zeros[name], name);
  }
  assert.ok(largest_logit > 1, `the largest logit is ${largest_logit}`);
  // The weights have the same bits, so only the order of summation may differ.
  assert.ok(max_logit_difference <= 1e-6 * largest_logit, `logits differ by ${max_logit_difference}`);
  return comparison;
}

describe("transformers with compressed-tensors, loading a pack-quantized checkpoint", () => {
  if (skip) {
    it(`is skipped: ${skip}`, { skip }, () => {});
    return;
  }
  for (const bits of [4, 8]) {
    for (const [rule, groupSize] of [["row-wise", 0], ["in groups of 64", 64]] as const) {
      for (const symmetric of [false, true]) {
        const title = `${bits} bits, ${rule}, ${symmetric ? "symmetric" : "asymmetric"}`;
        it(`computes the logits of the dense model, and packs to the same words: ${title}`, async () => {
          const { layers } = await assertLoads("opt-sotu", title, () => grid(bits, groupSize, symmetric));
          for (const [name, { repacked }] of Object.entries(layers)) assert.ok(repacked, name);
        });
      }
    }
  }

  it("accepts several kinds of grids and layers that stay dense", async () => {
    await assertLoads("opt-sotu", "mixed", (name) => {
      if (name.endsWith("3.fc2.weight")) return undefined;
      return name.includes("self_attn") ? grid(8, 0, true) : grid(4, 32, true);
    });
  });

  it("computes the logits of a dense model in bfloat16 with several shards", async () => {
    await assertLoads("llama-sotu", "llama", () => grid(8, 0, false));
    await assertLoads("llama-sotu", "llama in groups", () => grid(4, 32, true));
  });

  it("computes the logits of a dense BLOOM model", async () => {
    await assertLoads("bloom-sotu", "bloom", () => grid(4, 64, false));
  });
});

/**
 * Tests that the libraries transformers and compressed-tensors load the quantised checkpoints that Pare writes. The loaded models
 * must compute the same logits as the dense checkpoints with the same weights. The command `deno task venv` installs the libraries.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { blocksOf } from "../../src/model/families/family.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { unloadableReason } from "../../src/model/formats/format.ts";
import { PACK_QUANTIZED_FORMAT } from "../../src/model/formats/pack_quantized.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import type { GridOptions } from "../../src/tensor/quantization.ts";
import { FAMILY_FIXTURES, familyNames } from "../support/family_fixtures.ts";
import { type GridOf, writeQuantizedModel } from "../support/quantized_checkpoints.ts";
import { describePeers } from "./describe_peers.ts";
import type { QuantizedComparison } from "./quantized_comparison.ts";

const MODELS = fileURLToPath(new URL("../fixtures/models/", import.meta.url));
const TOKENS = [[1, 300, 2, 45, 1999, 8, 77, 512], [5, 4, 3, 2047, 1024, 9, 640, 11]];

/** Whether Pare writes a model of a family in this layout. */
async function isLoadable(family: string): Promise<boolean> {
  await using opened = await openModelFolder(FAMILY_FIXTURES + family, denoFileSystem);
  const linears = blocksOf(opened.model.spec).flatMap(({ groups }) => groups.flat());
  return linears.every((linear) => unloadableReason(linear, PACK_QUANTIZED_FORMAT) === undefined);
}

const LOADABLE_FAMILIES = (await Array.fromAsync(familyNames(), async (family) => ({
  family,
  loads: await isLoadable(family),
}))).filter(({ loads }) => loads).map(({ family }) => family);

function grid(bits: number, groupSize: number, symmetric: boolean): GridOptions {
  return { bits, groupSize, symmetric };
}

await describePeers("transformers with compressed-tensors, loading a pack-quantized checkpoint", (peers) => {
  /**
   * Quantises the model in the folder `model`, and writes a quantised and a dense copy with the same values.
   * Then the libraries load both copies, and the copies are compared.
   */
  async function assertLoads(
    model: string,
    title: string,
    gridOf: GridOf,
    tokens = TOKENS,
  ): Promise<QuantizedComparison> {
    const { dense, quantized, zeros, ignored } = await writeQuantizedModel(
      model,
      `${peers().folder}/${title}`,
      gridOf,
    );
    const request = { quantized, dense, tokens };
    const comparison = await peers().ask<QuantizedComparison>("comparisons/compare_quantized", request);
    const { layers, largest_logit, max_logit_difference, linear, loading } = comparison;
    for (const [kind, names] of Object.entries(loading)) assert.deepEqual(names, [], kind);
    assert.deepEqual(Object.keys(layers).toSorted(), Object.keys(zeros).toSorted());
    assert.equal(linear, Object.keys(zeros).length + ignored);
    for (const [name, layer] of Object.entries(layers)) {
      assert.ok(layer.equal, `${name} must have the same bits as the dense weight`);
      assert.equal(layer.zeros, zeros[name], name);
    }
    assert.ok(largest_logit > 1, `the largest logit is ${largest_logit}`);
    // The weights of both models have the same bits, so the logits may differ only by the order of summation.
    assert.ok(max_logit_difference <= 1e-6 * largest_logit, `logits differ by ${max_logit_difference}`);
    return comparison;
  }

  for (const bits of [2, 3, 4, 8]) {
    for (const [rule, groupSize] of [["row-wise", 0], ["in groups of 64", 64]] as const) {
      for (const symmetric of [false, true]) {
        const title = `${bits} bits, ${rule}, ${symmetric ? "symmetric" : "asymmetric"}`;
        it(`computes the logits of the dense model, and packs the weights to the stored tensors: ${title}`, async () => {
          const { layers, loads_plainly } = await assertLoads(
            `${MODELS}opt-sotu`,
            title,
            () => grid(bits, groupSize, symmetric),
          );
          // transformers 5 gives the packed zero points of asymmetric grids the wrong shape, so it needs an option.
          assert.equal(loads_plainly, symmetric);
          for (const [name, { repacked }] of Object.entries(layers)) assert.ok(repacked, name);
        });
      }
    }
  }

  it("loads a checkpoint with different grids and with layers that are not quantised", async () => {
    await assertLoads(`${MODELS}opt-sotu`, "mixed", (name) => {
      if (name.endsWith("3.fc2.weight")) return undefined;
      return name.includes("self_attn") ? grid(8, 0, true) : grid(4, 32, true);
    });
  });

  it("computes the logits of the dense model if the checkpoint is in bfloat16 and has several shards", async () => {
    await assertLoads(`${MODELS}llama-sotu`, "llama", () => grid(8, 0, false));
    await assertLoads(`${MODELS}llama-sotu`, "llama in groups", () => grid(4, 32, true));
  });

  it("computes the logits of the dense model for a BLOOM checkpoint", async () => {
    await assertLoads(`${MODELS}bloom-sotu`, "bloom", () => grid(4, 64, false));
  });

  for (const family of LOADABLE_FAMILIES) {
    it(`finds every tensor, and computes the logits of the dense model, of the family ${family}`, async () => {
      const small = TOKENS.map((window) => window.map((token) => token % 29));
      await assertLoads(FAMILY_FIXTURES + family, `family ${family}`, () => grid(4, 0, true), small);
    });
  }

  it("loads the layers of a checkpoint that was saved without a head", async () => {
    const headless = `${peers().folder}/headless`;
    await Deno.mkdir(headless);
    const { header, tensors } = decode(await Deno.readFile(`${MODELS}bloom-sotu/model.safetensors`));
    const renamed = [...tensors].map(([name, tensor]) =>
      [name.replace(/^transformer\./, ""), tensor] as const
    );
    await Deno.writeFile(`${headless}/model.safetensors`, encode(new Map(renamed), header.metadata));
    await Deno.copyFile(`${MODELS}bloom-sotu/config.json`, `${headless}/config.json`);
    const { layers } = await assertLoads(
      headless,
      "headless",
      (name) => name.startsWith("h.1.") ? undefined : grid(name.includes("mlp") ? 4 : 8, 0, true),
    );
    assert.ok("h.0.mlp.dense_h_to_4h.weight" in layers);
  });
});

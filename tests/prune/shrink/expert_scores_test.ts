/** Compares the scores of experts with a forward pass in float64. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { blocksOf } from "../../../src/model/families/family.ts";
import { bestExperts, measureExperts } from "../../../src/prune/shrink/expert_scores.ts";
import { bytesToFloats, type FloatDtype } from "../../../src/tensor/dtype.ts";
import { forwardMixture, type MixtureConfig } from "../../reference/mixture_forward.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { FAMILY_FIXTURES, readFamilyFixture } from "../../support/family_fixtures.ts";

async function readValues(family: string): Promise<Map<string, Float32Array>> {
  const checkpoint = await openCheckpoint(FAMILY_FIXTURES + family, denoFileSystem);
  try {
    return new Map(
      await Promise.all(Array.from(checkpoint.names(), async (name) => {
        const { data, dtype } = await checkpoint.tensor(name);
        return [name, bytesToFloats(data, dtype as FloatDtype)] as const;
      })),
    );
  } finally {
    await checkpoint.close();
  }
}

const FIXTURES = await Promise.all(
  ["mixtral", "qwen3_moe"].map(async (family) => (
    { family, values: await readValues(family), ...await readFamilyFixture(family) }
  )),
);

eachBackend("measureExperts()", (backend) => {
  for (const { family, values, windows, variants } of FIXTURES) {
    // pare shrink refuses a model in which some blocks have no experts.
    const shrinkable = variants.filter(({ model }) => new Set(blocksOf(model.spec)).size === 1);
    for (const { name, config, model, logits } of shrinkable) {
      it(`returns the mean of factor times norm over the tokens of each expert of ${family}, ${name}`, async () => {
        const blocks = model.spec.blockCount, { experts } = model.spec.block(0).traits!.mixture!;
        const newSums = () => Array.from({ length: blocks }, () => Array<number>(experts).fill(0));
        const tokens = newSums(), factors = newSums(), sums = newSums();
        // All variants share one checkpoint, and only some use its biases. In the variant with a window, all blocks have it.
        const used = new Map(
          [...values].filter(([name]) => config.attention_bias || !name.endsWith(".bias")),
        );
        const settings = config as unknown as MixtureConfig;
        const expected = windows.flatMap((window) =>
          forwardMixture(settings, used, window, (layer, expert, factor, output) => {
            tokens[layer][expert]++;
            factors[layer][expert] += factor;
            sums[layer][expert] += factor * Math.hypot(...output);
          })
        );
        assertClose(logits, expected, 1e-5, { label: "logits of the reference" });
        const live = backend().counters.bytesLive, uses = await measureExperts(model, backend(), windows);
        assert.equal(backend().counters.bytesLive, live, "bytes left allocated");
        assert.deepEqual(uses.map((use) => use.tokens), tokens);
        for (const [block, use] of uses.entries()) {
          assertClose(use.factors, factors[block], 1e-5, { label: "factors" });
          const scores = sums[block].map((sum, expert) => sum / Math.max(1, tokens[block][expert]));
          assertClose(use.scores, scores, 1e-5, { label: "scores" });
        }
      });
    }
  }
});

it("bestExperts() returns the experts with the largest scores in ascending order, of equal ones the first", () => {
  assert.deepEqual(bestExperts([0.5, 0.9, 0, 0.9, 0.7], 3), [1, 3, 4]);
  assert.deepEqual(bestExperts([0, 0, 0], 2), [0, 1]);
});

/** Tests that mlx-lm loads the checkpoints of `pare prune --for mlx` with exactly the weights that they stand for. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { pareJson, words } from "../cli/run_pare.ts";
import { describePeers } from "./describe_peers.ts";

const LLAMA = fileURLToPath(new URL("../fixtures/models/llama-sotu", import.meta.url));
const TOKENS = [[1, 300, 2, 45, 1999, 8, 77, 512], [5, 4, 3, 2047, 1024, 9, 640, 11]];

/** The answer of `compare_mlx.py`. */
interface Comparison {
  readonly layers: Readonly<Record<string, { readonly differences: number; readonly zeros: number }>>;
  readonly max_logit_difference: number;
  readonly largest_logit: number;
}

const GRIDS = [[2, 32, 0], [3, 64, 0], [4, 32, 0.5], [5, 64, 0], [6, 32, 0], [8, 64, 0]] as const;

await describePeers("mlx-lm, loading a checkpoint of pare prune --for mlx", (peers) => {
  for (const [bits, groupSize, sparsity] of GRIDS) {
    it(`finds every weight without a difference: ${bits} bits in groups of ${groupSize}, sparsity ${sparsity}`, async () => {
      const out = `${peers().folder}/mlx ${bits}`, dense = `${out} dense`;
      const pruned = await pareJson<{ readonly layers: { readonly name: string; readonly zeros: number }[] }>(
        ...["prune", LLAMA, "--out", out],
        ...words`--samples 8 --seqlen 64 --method sparsegpt --backend cpu --for mlx`,
        ...words`--bits ${String(bits)} --group-size ${String(groupSize)} --sparsity ${String(sparsity)}`,
      );
      await pareJson("unpack", out, "--out", dense);
      const answer = await peers().ask<Comparison>("comparisons/compare_mlx", {
        ...{ folder: out, dense, tokens: TOKENS },
      });
      const { layers } = pruned;
      assert.deepEqual(Object.keys(answer.layers).toSorted(), layers.map(({ name }) => name).toSorted());
      for (const { name, zeros } of layers) {
        assert.equal(answer.layers[name].differences, 0, name);
        assert.ok(answer.layers[name].zeros >= zeros, name); // a kept weight may be rounded to 0
      }
      // The logits differ by the order of summation and by the rounding to BF16 only.
      assert.ok(answer.max_logit_difference <= 0.05 * answer.largest_logit, JSON.stringify(answer));
    });
  }
});

/** Tests a job with as many layers as OPT-175B has, in the real Workers runtime. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { layerBody, startJobEdge, WAIT_MILLISECONDS } from "./job_edge.ts";

const LAYERS = 576, HOSTS = 3;

it("a job solves as many layers as OPT-175B has, each in one attempt", async () => {
  const edge = await startJobEdge(HOSTS);
  try {
    const seeds = Array.from({ length: 12 }, (_, index) => 100 + 2 * index);
    const weights: string[] = [];
    for (const seed of seeds) weights.push(await edge.store(layerBody(16, 24, seed)));
    const { id } = await edge.jobs.submit(Array.from({ length: LAYERS }, (_, index) => ({
      name: `layer ${index}`,
      weight: weights[index % weights.length],
      parameters: { sparsity: (1 + index % 8) / 10 },
    })));
    const states = await edge.settledLayers(id, 8 * WAIT_MILLISECONDS);
    assert.equal(states.length, LAYERS);
    for (const { name, state, attempts, report } of states) {
      const sparsity = (1 + Number(name.slice("layer ".length)) % 8) / 10;
      assert.deepEqual([state, attempts, report?.zeros], ["done", 1, Math.round(sparsity * 16 * 24)], name);
    }
  } finally {
    await edge.close();
  }
});

/**
 * Tests a mixture whose experts do not fit into memory at once: its experts are loaded and calibrated in parts. Also tests statistics in
 * which every token counts for every expert.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { digestBytes } from "../../src/base/files/chunks.ts";
import type { Backend } from "../../src/device/backend.ts";
import type { Model } from "../../src/model/model.ts";
import type { PruneJob } from "../../src/prune/run/job.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { pruneModel } from "../../src/prune/run/prune_model.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { randomModel } from "../support/random_model.ts";

const HIDDEN = 64, INTERMEDIATE = 32;

/** Returns a model like DeepSeek-V3 with one dense block and one with experts. */
const modelWith = (experts: number) =>
  randomModel({
    ...FAMILY_MODELS.deepseek_v3.base,
    hidden_size: HIDDEN,
    moe_intermediate_size: INTERMEDIATE,
    n_routed_experts: experts,
    num_experts_per_tok: 8,
    n_group: 8,
    topk_group: 4,
  });
const windows = [0, 1, 2].map((w) =>
  Uint32Array.from({ length: 40 }, (_, t) => (t * t + 7 * w * t + w) % 29)
);

/** Prunes the model. Returns the digest of each weight, the tokens of the layers, and the largest device memory in bytes. */
async function prune(backend: Backend, model: Model, options: Partial<PruneJob>) {
  const weights = new Map<string, string>(), tokens = new Map<string, number | undefined>();
  const counters = backend.counters as { bytesPeak: number; bytesLive: number };
  counters.bytesPeak = counters.bytesLive;
  const live = counters.bytesLive;
  await pruneModel({
    model,
    windows,
    queryOf: () => ({ sparsity: 0.5, method: "sparsegpt" }),
    ...options,
    destination: {
      fill: (run) =>
        run({
          replace: (name, { data }) => Promise.resolve(void weights.set(name, digestBytes(data))),
          record: ({ name, tokens: count }) => Promise.resolve(void tokens.set(name, count)),
        }),
    },
  }, { backend, pruner: new DevicePruner(backend) });
  return { weights, tokens, bytes: counters.bytesPeak - live };
}

eachBackend("a block of many experts", (backend) => {
  it("takes the memory of a few experts if they are loaded one by one and calibrated four at once, and gets the same weights", async () => {
    const experts = backend().kind === "cpu" ? 256 : 64, model = modelWith(experts);
    const whole = await prune(backend(), model, {}), streamed = { ...model, streamsExperts: true };
    const parts = await prune(backend(), streamed, { expertsAtOnce: 4 });
    assert.equal(whole.weights.size, 5 + 3 + 5 + 3 + 3 * experts);
    assertSame(Object.fromEntries(parts.weights), Object.fromEntries(whole.weights));
    // The three weights of an expert and the Hessians of its inputs, in f32.
    const expertBytes = 4 * (3 * HIDDEN * INTERMEDIATE + HIDDEN ** 2 + INTERMEDIATE ** 2);
    assert.ok(whole.bytes > experts * expertBytes / 2, `${whole.bytes} bytes`);
    // The rest are activations, the other layers of the block, and the buffers of a solve.
    assert.ok(parts.bytes < 24 * expertBytes, `${parts.bytes} of ${whole.bytes} bytes`);
  });

  it("gets the same weights if errors choose the sparsities, also with the statistics of a few experts at once", async () => {
    const model = modelWith(16), streamed = { ...model, streamsExperts: true };
    const allocation = { name: "error", layers: linearLayers(model.spec), sparsity: 0.5 } as const;
    const whole = await prune(backend(), model, { allocation });
    const parts = await prune(backend(), streamed, { allocation, expertsAtOnce: 2 });
    assertSame(Object.fromEntries(parts.weights), Object.fromEntries(whole.weights));
    assert.ok(parts.bytes < whole.bytes / 2, `${parts.bytes} of ${whole.bytes} bytes`);
    // The statistics of attention do not depend on the tokens of experts, but its share of the zeros does.
    const all = await prune(backend(), model, { allocation, allExperts: true });
    const attention = [...whole.weights].filter(([name]) => name.includes("self_attn"));
    assert.ok(attention.some(([name, digest]) => all.weights.get(name) !== digest));
  });

  it("counts every token for every expert with allExperts, and changes no other layer", async () => {
    const model = modelWith(16), routed = await prune(backend(), model, {});
    const all = await prune(backend(), model, { allExperts: true });
    const ofExperts = ({ tokens }: typeof all) => [...tokens].filter(([name]) => name.includes(".experts."));
    assert.equal(ofExperts(all).length, 3 * 16);
    assert.ok(ofExperts(all).every(([, count]) => count === 3 * 40));
    const counts = ofExperts(routed).filter(([name]) => name.endsWith("gate_proj.weight"));
    assert.equal(counts.reduce((sum, [, count]) => sum + count!, 0), 3 * 40 * 8);
    for (const [name, digest] of routed.weights) {
      assert.equal(all.weights.get(name) === digest, !name.includes(".experts."), name);
    }
    const inParts = await prune(backend(), model, { allExperts: true, expertsAtOnce: 6 });
    assertSame(Object.fromEntries(inParts.weights), Object.fromEntries(all.weights));
  });
});

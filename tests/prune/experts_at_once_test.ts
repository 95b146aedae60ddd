/**
 * Tests a mixture whose experts do not fit into memory at once: its experts are loaded and calibrated in parts. Also tests statistics in
 * which every token counts for every expert.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import type { Backend } from "../../src/device/backend.ts";
import type { PruneJob } from "../../src/prune/run/job.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { pruneModel } from "../../src/prune/run/prune_model.ts";
import { eachBackend } from "../support/backends.ts";
import { randomModel } from "../support/random_model.ts";

const EXPERTS = 256, HIDDEN = 64, INTERMEDIATE = 32;

/** A model like DeepSeek-V3 with one dense block and one of 256 experts. */
const model = randomModel({
  ...FAMILY_MODELS.deepseek_v3.base,
  hidden_size: HIDDEN,
  moe_intermediate_size: INTERMEDIATE,
  n_routed_experts: EXPERTS,
  num_experts_per_tok: 8,
  n_group: 8,
  topk_group: 4,
});
const windows = [0, 1, 2].map((w) =>
  Uint32Array.from({ length: 40 }, (_, t) => (t * t + 7 * w * t + w) % 29)
);

/** Prunes the model. Returns the digest of each weight, the tokens of the layers, and the largest device memory in bytes. */
async function prune(backend: Backend, options: Partial<PruneJob>) {
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
          replace: async (name, { data }) =>
            void weights.set(
              name,
              new Uint8Array(await crypto.subtle.digest("SHA-256", data as BufferSource)).toHex(),
            ),
          record: ({ name, tokens: count }) => Promise.resolve(void tokens.set(name, count)),
        }),
    },
  }, { backend, pruner: new DevicePruner(backend) });
  return { weights, tokens, bytes: counters.bytesPeak - live };
}

eachBackend("a block of 256 experts", (backend) => {
  it("takes the memory of a few experts if they are loaded and calibrated four at once, and gets the same weights", async () => {
    const whole = await prune(backend(), {}), parts = await prune(backend(), { expertsAtOnce: 4 });
    assert.equal(whole.weights.size, 9 + 3 + 3 * EXPERTS + 3 + 4 - 2);
    assert.deepEqual(Object.fromEntries(parts.weights), Object.fromEntries(whole.weights));
    // The three weights of an expert and the Hessians of its inputs, in f32.
    const expertBytes = 4 * (3 * HIDDEN * INTERMEDIATE + HIDDEN ** 2 + INTERMEDIATE ** 2);
    assert.ok(whole.bytes > EXPERTS * expertBytes / 2, `${whole.bytes} bytes`);
    assert.ok(parts.bytes < whole.bytes / 8, `${parts.bytes} of ${whole.bytes} bytes`);
  });

  it("counts every token for every expert with allExperts, and changes no layer before the experts", async () => {
    const routed = await prune(backend(), {}), all = await prune(backend(), { allExperts: true });
    const experts = [...all.tokens].filter(([name]) => name.includes(".experts."));
    assert.equal(experts.length, 3 * EXPERTS);
    assert.ok(experts.every(([, count]) => count === 3 * 40));
    const counts = [...routed.tokens].filter(([name]) =>
      name.endsWith("gate_proj.weight") && name.includes(".experts.")
    );
    assert.equal(counts.reduce((sum, [, count]) => sum + count!, 0), 3 * 40 * 8);
    for (const [name, digest] of routed.weights) {
      if (!name.includes("layers.1.mlp.experts")) assert.equal(all.weights.get(name), digest, name);
    }
    const inParts = await prune(backend(), { allExperts: true, expertsAtOnce: 64 });
    assert.deepEqual(Object.fromEntries(inParts.weights), Object.fromEntries(all.weights));
  });
});

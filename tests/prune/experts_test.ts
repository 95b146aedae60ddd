/**
 * Tests that mixtures of experts are pruned: experts that many, few and no calibration tokens reach, the router,
 * and the order of the calibration.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { assertSame } from "../support/assert_same.ts";
import { openLocalHost } from "../support/local_host.ts";
import { replaceWeights, solveBlocks } from "../support/solve_blocks.ts";
import { readTensor, type TensorSource, withReplacements } from "../../src/model/checkpoint/tensor_source.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { BlockPlan, linearLayers } from "../../src/prune/block_plan.ts";
import { pruneInMemory } from "../../src/prune/run/in_memory.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { bytesToFloats } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";

const { windows, weights, variants: [{ model }] } = await readFamilyFixture("qwen3_moe");
/** A window of two tokens, each of which goes to two of the five experts. So at least one expert gets no token. */
const SHORT = [windows[0].subarray(0, 2)];

async function valuesOf(source: TensorSource, name: string): Promise<Float32Array> {
  const { dtype, data } = await readTensor(source, name);
  assert.equal(dtype, "BF16");
  return bytesToFloats(data, "BF16");
}

const host = await openLocalHost("cpu");
after(() => host[Symbol.asyncDispose]());

describe("a mixture of experts", () => {
  /** Prunes with the short window. Returns the events by layer, and the pruned weights. */
  async function pruneShort(query: LayerQuery) {
    const replaced = new Map<string, HostTensor>();
    const replace = (name: string, weight: HostTensor) => Promise.resolve(void replaced.set(name, weight));
    const solved = await solveBlocks(model, host.backend, { windows: SHORT, replace }, host.pruner, query);
    const events = new Map(solved.map((layer) => [layer.layer.name, layer]));
    return { events, weights: withReplacements(weights, replaced) };
  }

  const queries: LayerQuery[] = [
    { method: "sparsegpt" },
    { method: "alps" },
    { method: "obc" },
    { method: "wanda" },
    { method: "adaprune" },
    { method: "sparsegpt", pattern: "2:4" },
    { method: "sparsegpt", sparsity: 0.25, bits: 4 },
  ];
  for (const query of queries) {
    it(`is pruned with ${JSON.stringify(query)} although few or no tokens reach some experts`, async () => {
      const { events, weights } = await pruneShort(query);
      const layers = linearLayers(model.spec);
      assert.equal(events.size, layers.length);
      let few = 0, none = 0;
      for (const { name, linear, rows, cols } of layers) {
        const values = await valuesOf(weights, name), { notes, zeros, damping } = events.get(name)!.report;
        assert.ok(values.every(Number.isFinite), name);
        const pruned = Math.round((query.pattern ? 0.5 : query.sparsity ?? 0.5) * rows * cols);
        assert.ok(zeros >= pruned && zeros < rows * cols, `${name} has ${zeros} zeros`);
        if (linear.expertRole === undefined) continue;
        if (notes.some((note) => note.startsWith("No calibration token reached"))) none++;
        if (!notes.some((note) => /^Only \d+ calibration tokens reached/.test(note))) continue;
        few++;
        assert.ok(damping === 1 || damping === null, `${name} has the damping ${damping}`);
      }
      assert.ok(few > 0 && none > 0, `${few} layers with few tokens, ${none} without tokens`);
      const options = { seqlen: windows[0].length };
      const tokens = Uint32Array.from(windows.flatMap((window) => [...window]));
      const { perplexity } = await computePerplexity({ ...model, weights }, host.backend, tokens, options);
      assert.ok(perplexity > 1 && perplexity < 1e6, `${perplexity}`);
    });
  }

  it("prunes the layers of an expert that no token reaches by magnitude", async () => {
    const { events, weights: pruned } = await pruneShort({ method: "sparsegpt", sparsity: 0.5 });
    const unreached = [...events.values()].filter(({ report: { notes } }) =>
      /^No calibration/.test(notes.join())
    );
    for (const { layer: { name } } of unreached) {
      const before = await valuesOf(weights, name), after = await valuesOf(pruned, name);
      const kept = before.filter((_, i) => after[i] !== 0), removed = before.filter((_, i) => after[i] === 0);
      assert.deepEqual(after.filter((value) => value !== 0), kept, name);
      assert.equal(removed.length, before.length / 2);
      assert.ok(Math.max(...removed.map(Math.abs)) <= Math.min(...kept.map(Math.abs)), name);
    }
    assert.ok(unreached.length > 0);
  });

  it("has the inputs of a router that chooses all experts, with allExperts, also if the router's factors multiply inputs", async () => {
    // Only its last block has experts.
    const { weights, variants: [{ config }] } = await readFamilyFixture("llama4_text");
    const hessians = async (num_experts_per_tok: unknown, allExperts: boolean) => {
      const spec = readModelSpec({ ...config, num_experts_per_tok }, weights.has);
      const sums = new Map<string, Uint8Array>();
      const options = { windows, allExperts };
      await replaceWeights({ spec, weights }, host.backend, options, async ({ weight }, group) => {
        sums.set(group.layers[0].name, (await group.hessian!.packedUpper()).data);
        return weight;
      });
      return sums;
    };
    const chosen = await hessians(config.num_local_experts, false);
    assert.ok([...chosen.keys()].some((name) => name.endsWith(".experts.2.down_proj.weight")));
    assertSame(await hessians(1, true), chosen);
    assert.notDeepEqual(await hessians(1, false), chosen);
  });

  it("keeps its router, its norms and its other tensors", async () => {
    const pruned = await pruneInMemory(model, {}, { pruner: host.pruner, backend: host.backend, windows });
    const prunedNames = linearLayers(model.spec).map(({ name }) => name);
    for (const name of ["model.layers.0.mlp.gate.weight", "model.layers.1.self_attn.q_norm.weight"]) {
      assert.ok(!prunedNames.includes(name));
      assertSame(await valuesOf(pruned.weights, name), await valuesOf(weights, name));
    }
  });

  it("is pruned to the exact total with both allocations", async () => {
    for (const allocation of ["owl", "error"] as const) {
      const options = { pruner: host.pruner, backend: host.backend, windows: SHORT, allocation };
      const pruned = await pruneInMemory(model, { method: "sparsegpt", sparsity: 0.5 }, options);
      let zeros = 0, entries = 0;
      for (const { name } of linearLayers(model.spec)) {
        const values = await valuesOf(pruned.weights, name);
        zeros += values.filter((value) => value === 0).length;
        entries += values.length;
      }
      assert.equal(zeros, Math.round(entries / 2), allocation);
    }
  });

  it("calibrates all experts together, also with trueSequential", () => {
    const rounds = new BlockPlan(model.spec, { trueSequential: true }).rounds(0);
    const names = rounds.map((round) =>
      round.flatMap(({ layers }) => layers.map(({ linear }) => linear.name))
    );
    assert.deepEqual(names.map((round) => round.length), [3, 1, 10, 5]);
    assert.deepEqual(names[2].slice(0, 3), [
      "mlp.experts.0.gate_proj",
      "mlp.experts.0.up_proj",
      "mlp.experts.1.gate_proj",
    ]);
  });

  it("calibrates a few experts together with expertsAtOnce, and all other layers before them", () => {
    const rounds = new BlockPlan(model.spec, { expertsAtOnce: 2 }).rounds(0);
    const experts = rounds.map((round) =>
      new Set(round.map(({ group: [{ name }] }) => /experts\.(\d+)/.exec(name)?.[1]))
    );
    assert.deepEqual(
      experts,
      [[undefined], ["0", "1"], ["2", "3"], ["4"]].map((numbers) => new Set(numbers)),
    );
  });

  it("calibrates the last layers of its experts with the pruned layers before them, with trueSequential", async () => {
    const statistics = async (trueSequential: boolean) => {
      const hessians = new Map<string, Uint8Array>();
      const options = { windows, trueSequential };
      await replaceWeights(model, host.backend, options, async ({ name, weight }, group) => {
        hessians.set(group.layers[0].name, (await group.hessian!.packedUpper()).data);
        const data = name.endsWith("up_proj.weight") ? new Uint8Array(weight.data.length) : weight.data;
        return { ...weight, data };
      });
      return hessians;
    };
    const [dense, sequential] = [await statistics(false), await statistics(true)];
    const name = "model.layers.0.mlp.experts.0.";
    assertSame(sequential.get(`${name}gate_proj.weight`), dense.get(`${name}gate_proj.weight`));
    assert.ok(dense.get(`${name}down_proj.weight`)!.some((byte) => byte !== 0));
    assert.ok(sequential.get(`${name}down_proj.weight`)!.every((byte) => byte === 0));
  });

  it("frees the device's memory", () => {
    assert.equal(host.backend.counters.bytesLive, 0);
  });
});

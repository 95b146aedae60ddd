/** Tests that layers which a checkpoint stores transposed are pruned along their inputs and stored transposed again. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { assertSame } from "../support/assert_same.ts";
import { openLocalHost } from "../support/local_host.ts";
import { replaceWeights } from "../support/solve_blocks.ts";
import { readTensor, type TensorSource } from "../../src/model/checkpoint/tensor_source.ts";
import type { Model } from "../../src/model/model.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { pruneInMemory } from "../../src/prune/run/in_memory.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { transpose } from "../../src/tensor/transpose.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";

const { windows, weights, variants: [{ model }] } = await readFamilyFixture("gpt2");

/** Sets the two smaller of every four neighbouring inputs of each output to 0, in a weight stored as (inputs, outputs). */
function twoOfFour(stored: Float32Array, outputs: number): Float32Array {
  const pruned = stored.slice();
  for (let first = 0; first < stored.length; first += 4 * outputs) {
    for (let output = 0; output < outputs; output++) {
      const group = [0, 1, 2, 3].map((input) => first + input * outputs + output);
      group.sort((a, b) => Math.abs(stored[a]) - Math.abs(stored[b]));
      for (const index of group.slice(0, 2)) pruned[index] = 0;
    }
  }
  return pruned;
}

async function storedWeight(source: TensorSource, name: string): Promise<Float32Array> {
  return asFloat32((await readTensor(source, name)).data);
}

const host = await openLocalHost("cpu");
after(() => host[Symbol.asyncDispose]());

describe("the layers of GPT-2", () => {
  const prune = (query: Parameters<typeof pruneInMemory>[1], allocation?: "owl" | "error"): Promise<Model> =>
    pruneInMemory(model, query, { pruner: host.pruner, backend: host.backend, windows, allocation });

  it("are pruned n:m along their inputs", async () => {
    const pruned = await prune({ method: "magnitude", pattern: "2:4" });
    for (const { name, rows } of linearLayers(model.spec)) {
      const expected = twoOfFour(await storedWeight(weights, name), rows);
      assertSame(await storedWeight(pruned.weights, name), expected, name);
    }
  });

  it("have the weights that a solver returns for the transposed weights and the same statistics", async () => {
    const pruned = await prune({ method: "sparsegpt", sparsity: 0.5, token_weights: "none" });
    const [{ name }] = linearLayers(model.spec);
    const weight = transpose(await readTensor(weights, name));
    const layers = new Set([name]);
    const [solved] = await replaceWeights(model, host.backend, { windows, layers }, async (layer, group) => {
      assert.deepEqual(layer.weight, weight);
      const hessian_upper = await group.hessian!.packedUpper();
      return (await host.pare.pruneLayer({ weight, hessian_upper }, { sparsity: 0.5 })).weight;
    });
    assertSame((await readTensor(pruned.weights, name)).data, transpose(solved.weight).data);
  });

  for (const allocation of ["owl", "error"] as const) {
    it(`are pruned to the exact total with the allocation ${allocation}`, async () => {
      const pruned = await prune({ method: "sparsegpt", sparsity: 0.5 }, allocation);
      let zeros = 0, entries = 0;
      for (const { name } of linearLayers(model.spec)) {
        const values = await storedWeight(pruned.weights, name);
        zeros += values.filter((value) => value === 0).length;
        entries += values.length;
      }
      assert.equal(zeros, Math.round(entries / 2));
    });
  }
});

/** Tests the targets of the experts of a mixture: the pruned model routes their tokens, and the dense model gives the inputs. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { readMatrix } from "../../src/device/tiled_matrix.ts";
import type { LayerEvent } from "../../src/client/model_pruner.ts";
import { Forward } from "../../src/model/forward.ts";
import { readTensor, type TensorSource, withReplacements } from "../../src/model/checkpoint/tensor_source.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { calibratedModel } from "../../src/prune/calibrated_model.ts";
import type { CalibratedPruner } from "../../src/prune/device_pruner.ts";
import { serverPruner } from "../../src/prune/server_pruner.ts";
import { memoryDestination } from "../../src/prune/run/in_memory.ts";
import { pruneModel } from "../../src/prune/run/prune_model.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";
import { referenceTarget } from "../reference/target_statistics.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";
import { openLocalHost } from "../support/local_host.ts";

const { windows, weights, variants: [{ model, config }] } = await readFamilyFixture("qwen3_moe");
const MIXTURE = "model.layers.0.mlp.", EXPERTS = config.num_local_experts as number;
/** The same network in which every expert gets every token, so that its inputs can be observed for all of them. */
const open = readModelSpec({ ...config, num_experts_per_tok: EXPERTS }, weights.has);

function floatsOf({ dtype, data }: HostTensor): Float32Array {
  return bytesToFloats(data, dtype as FloatDtype);
}

/** Sets every other weight to 0. */
function halved(weight: HostTensor): HostTensor {
  const values = floatsOf(weight).map((value, i) => i % 2 === 0 ? value : 0);
  return { dtype: "F32", shape: weight.shape, data: new Uint8Array(values.buffer) };
}

/** Returns the inputs of the layers of all experts in block 0 with the weights `source` for every token, by the name of the first layer. */
async function inputsOf(backend: Backend, source: TensorSource): Promise<Map<string, Float32Array>> {
  const forward = await Forward.begin(backend, { spec: open, weights: source }, windows);
  const reading: (readonly [string, Promise<Uint8Array<ArrayBuffer>>])[] = [];
  try {
    await forward.observeBlock(0, ([{ name, inFeatures, expertRole }], input, rows) => {
      if (expertRole === undefined) return;
      const copy = backend.createBuffer("copy", 4 * rows * inFeatures);
      backend.copy(input, 0, copy, 0, copy.byteLength);
      reading.push([name, backend.read(copy, 0, copy.byteLength).finally(() => copy.destroy())]);
    });
    const inputs = new Map<string, Float32Array>();
    for (const [name, bytes] of reading) inputs.set(name, asFloat32(await bytes));
    return inputs;
  } finally {
    forward.destroy();
  }
}

/** Returns the experts of each token: those with the largest scores x·Wᵀ of the router. */
async function routesOf(x: Float32Array): Promise<number[][]> {
  const router = floatsOf(await readTensor(weights, `${MIXTURE}gate.weight`)), size = router.length / EXPERTS;
  return Array.from({ length: x.length / size }, (_, token) => {
    const scores = Array.from({ length: EXPERTS }, (_, expert) => {
      let score = 0;
      for (let i = 0; i < size; i++) score += router[expert * size + i] * x[token * size + i];
      return { expert, score };
    });
    return scores.toSorted((a, b) => b.score - a.score).slice(0, config.num_experts_per_tok as number)
      .map(({ expert }) => expert);
  });
}

/** The rows of some tokens. */
function rowsOf(x: Float32Array, columns: number, tokens: readonly number[]): number[] {
  return tokens.flatMap((token) => [...x.subarray(token * columns, (token + 1) * columns)]);
}

eachBackend("the target of an expert's layer", (backend) => {
  it("sums over the tokens that the pruned model routes to the expert, with their inputs in the dense model", async () => {
    const replaced = new Map<string, HostTensor>(), pruned = withReplacements(weights, replaced);
    const source = calibratedModel(model, backend(), {
      windows,
      hasTargets: true,
      trueSequential: true,
      layers: { has: (name) => name.startsWith("model.layers.0.") },
      onReplace: (name, weight) => Promise.resolve(void replaced.set(name, weight)),
    });
    const dense = await inputsOf(backend(), weights), first = "mlp.experts.0.gate_proj";
    const compared = new Set<string>();
    let moved = 0;
    for await (const group of source.groups()) {
      const [, expert] = /experts\.(\d+)/.exec(group.layers[0].name) ?? [];
      if (expert !== undefined) {
        // The weights that are replaced in the same round do not change these inputs.
        const inputs = await inputsOf(backend(), pruned);
        const routes = await routesOf(inputs.get(first)!), others = await routesOf(dense.get(first)!);
        const tokens = routes.flatMap((experts, token) => experts.includes(Number(expert)) ? [token] : []);
        moved += tokens.filter((token) => !others[token].includes(Number(expert))).length;
        assert.equal(group.tokens, tokens.length);
        for (const { name, weight } of group.layers) {
          const layer = name.slice("model.layers.0.".length, -".weight".length);
          const input = layer.replace("up_proj", "gate_proj"), [outFeatures, inFeatures] = weight.shape;
          const target = group.hessian!.target(weight)!, values = await readMatrix(backend(), target);
          target.destroy();
          const expected = tokens.length === 0 ? floatsOf(weight) : referenceTarget({
            rows: tokens.length,
            inFeatures,
            outFeatures,
            weight: floatsOf(weight),
            xd: rowsOf(dense.get(input)!, inFeatures, tokens),
            xp: rowsOf(inputs.get(input)!, inFeatures, tokens),
          });
          assertClose(values, expected, 1e-5, { label: name });
          compared.add(name);
        }
      }
      for (const { name, weight } of group.layers) await group.replace(name, halved(weight));
    }
    assert.equal(compared.size, 3 * EXPERTS);
    assert.ok(moved > 0, "the dense model routes no token to another expert");
    assert.equal(backend().counters.bytesLive, 0);
  });
});

describe("a mixture of experts with targets", () => {
  it("is pruned in this process as at a host, although few or no tokens reach some experts", async () => {
    await using host = await openLocalHost("cpu");
    const layers = linearLayers(model.spec);
    const prune = async (pruner: CalibratedPruner) => {
      const events = new Map<string, LayerEvent>();
      const pruned = await pruneModel({
        model,
        windows: [windows[0].subarray(0, 2)],
        validationWindows: [windows[1].subarray(0, 2)],
        queryOf: () => ({ method: "sparsegpt" }),
        target: "dense",
        destination: memoryDestination(model),
      }, {
        backend: host.backend,
        pruner,
        onLayerDone: (_done, _total, event) => event && events.set(event.name, event),
      });
      const results = await Promise.all(layers.map(async ({ name }) => {
        const { tokens, report: { seconds: _, factor_reused: _factor, ...report } } = events.get(name)!;
        return { name, tokens, report, values: floatsOf(await readTensor(pruned.weights, name)) };
      }));
      return results;
    };
    const results = await prune(host.pruner);
    assert.deepEqual(await prune(serverPruner(host.pare)), results);
    const unreached = results.filter(({ tokens }) => tokens === 0);
    assert.ok(unreached.length > 0);
    for (const { name, values } of unreached) {
      const dense = floatsOf(await readTensor(weights, name));
      assert.ok(values.every((value, i) => value === 0 || value === dense[i]), name);
    }
    const steps = results.map(({ report }) => report.target_step!);
    assert.ok(steps.every((step) => [0, 0.25, 0.5].includes(step)), `${steps}`);
    assert.ok(results.some(({ report }) => report.validation_error === undefined));
    assert.equal(host.backend.counters.bytesLive, 0);
  });
});

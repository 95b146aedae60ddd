/** Tests the targets of the experts of a mixture: the pruned model routes their tokens, and the dense model gives the inputs. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { readMatrix } from "../../src/device/tiled_matrix.ts";
import type { LayerEvent } from "../../src/protocol/run/solve_round.ts";
import { Forward } from "../../src/model/forward.ts";
import { readTensor, type TensorSource, withReplacements } from "../../src/model/checkpoint/tensor_source.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import type { MixtureTraits, ModelSpec } from "../../src/model/families/family.ts";
import type { Model } from "../../src/model/model.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import type { RoundSolver } from "../../src/prune/steps.ts";
import { replaceWeights, type RunOptions } from "../support/solve_blocks.ts";
import { serverPruner } from "../../src/prune/server_pruner.ts";
import { memoryDestination } from "../../src/prune/run/in_memory.ts";
import { pruneModel } from "../../src/prune/run/prune_model.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";
import { referenceTarget } from "../reference/target_statistics.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { type FamilyFixture, readFamilyFixture } from "../support/family_fixtures.ts";
import { openLocalHost } from "../support/local_host.ts";
import { halved } from "../support/opt_sotu.ts";

/** The fixtures, the index of the variant, and the block whose experts are tested. */
const MIXTURES = [["qwen3_moe", 0, 0], ["qwen2_moe", 0, 0], ["deepseek_v3", 1, 1], ["glm4_moe", 0, 1], [
  "gpt_oss",
  0,
  0,
]] as const;

function floatsOf({ dtype, data }: HostTensor): Float32Array {
  return bytesToFloats(data, dtype as FloatDtype);
}

/** A mixture of experts in a block of a model whose other blocks are dense. */
class Mixture {
  readonly model: Model;
  readonly prefix: string;
  readonly #rule: MixtureTraits;
  /** The same network, but every expert gets every token, so that the inputs of an expert can be observed for all tokens. */
  readonly #open: ModelSpec;

  constructor(
    readonly fixture: FamilyFixture,
    variant: number,
    readonly block: number,
  ) {
    const { model, config } = fixture.variants[variant], { prefix, traits } = model.spec.block(block);
    this.model = model;
    this.prefix = prefix(block);
    this.#rule = traits!.mixture!;
    this.#open = readModelSpec({ ...config, num_experts_per_tok: this.#rule.experts }, model.weights.has);
  }

  /** The name of the first layer of expert 0. */
  get first(): string {
    return this.layers[0];
  }

  /** The names of the layers of all experts, also of the shared one. */
  get layers(): string[] {
    return this.model.spec.block(this.block).groups.flat().map(({ name }) => name).filter(isOfExpert);
  }

  /** Runs the block with the weights `source`. Returns the inputs of each group of layers of an expert, by the name of its first layer. */
  async inputs(backend: Backend, source: TensorSource): Promise<Map<string, Float32Array>> {
    const forward = await Forward.begin(
      backend,
      { spec: this.#open, weights: source },
      this.fixture.windows,
    );
    const reading: (readonly [string, Promise<Uint8Array<ArrayBuffer>>])[] = [];
    try {
      for (let index = 0; index < this.block; index++) {
        await forward.runBlock(index, undefined, this.model.weights);
      }
      await forward.observeBlock(this.block, ([{ name, inFeatures }], input, rows) => {
        if (!isOfExpert(name)) return;
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

  /** Returns the experts of each token, which have its largest scores. The scores come from the outputs x·Wᵀ + b of the router. */
  async routes(x: Float32Array): Promise<number[][]> {
    const { denseLayers: [router] = [], vectors = [] } = this.model.spec.block(this.block);
    const read = async (name: string) => floatsOf(await readTensor(this.model.weights, this.prefix + name));
    const weight = await read(`${router.name}.weight`), size = router.inFeatures;
    const bias = router.bias ? await read(`${router.name}.bias`) : undefined;
    const [corrections] = vectors.filter(({ name }) => name.includes("correction"));
    const added = corrections && await read(corrections.name);
    const { experts, expertsPerToken, scores: kind } = this.#rule;
    return Array.from({ length: x.length / size }, (_, token) => {
      const scores = Array.from({ length: experts }, (_, expert) => {
        let output = bias?.[expert] ?? 0;
        for (let i = 0; i < size; i++) output += weight[expert * size + i] * x[token * size + i];
        const score = kind === "sigmoid" ? 1 / (1 + Math.exp(-output)) : output;
        return { expert, score: score + (added?.[expert] ?? 0) };
      });
      return scores.toSorted((a, b) => b.score - a.score).slice(0, expertsPerToken).map(({ expert }) =>
        expert
      );
    });
  }
}

function isOfExpert(layer: string): boolean {
  return /\.(experts|shared_experts?)\./.test(layer);
}

/** The rows of some tokens. */
function rowsOf(x: Float32Array, columns: number, tokens: readonly number[]): number[] {
  return tokens.flatMap((token) => [...x.subarray(token * columns, (token + 1) * columns)]);
}

const mixtures = await Promise.all(
  MIXTURES.map(async ([family, variant, block]) =>
    [family, new Mixture(await readFamilyFixture(family), variant, block)] as const
  ),
);

eachBackend("the target of an expert's layer", (backend) => {
  for (const [family, mixture] of mixtures) {
    it(`sums over the tokens that the pruned model routes to the expert, with their inputs in the dense model: ${family}`, async () => {
      const { model, prefix, fixture: { windows } } = mixture;
      const replaced = new Map<string, HostTensor>(), pruned = withReplacements(model.weights, replaced);
      const options: RunOptions = {
        windows,
        hasTargets: true,
        trueSequential: true,
        layers: { has: (name) => name.startsWith(prefix) },
        replace: (name, weight) => Promise.resolve(void replaced.set(name, weight)),
      };
      const dense = await mixture.inputs(backend(), model.weights), compared = new Set<string>();
      let moved = 0;
      await replaceWeights(model, backend(), options, async (layer, group) => {
        if (layer !== group.layers[0]) return halved(layer.weight);
        const input = group.layers[0].name.slice(prefix.length, -".weight".length);
        if (isOfExpert(input)) {
          // The weights that are replaced in the same round do not change these inputs.
          const inputs = await mixture.inputs(backend(), pruned);
          const routes = await mixture.routes(inputs.get(mixture.first)!);
          const others = await mixture.routes(dense.get(mixture.first)!);
          const [, expert] = /\.experts\.(\d+)/.exec(input) ?? [];
          const tokens = routes.flatMap((experts, token) =>
            expert === undefined || experts.includes(Number(expert)) ? [token] : []
          );
          if (expert !== undefined) {
            moved += tokens.filter((token) => !others[token].includes(Number(expert))).length;
            assert.equal(group.tokens, tokens.length);
          }
          for (const { name, weight } of group.layers) {
            const [outFeatures, inFeatures] = weight.shape;
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
        return halved(layer.weight);
      });
      assert.equal(compared.size, mixture.layers.length);
      assert.ok(moved > 0, "the dense model routes no token to another expert");
      assert.equal(backend().counters.bytesLive, 0);
    });
  }
});

describe("a mixture of experts with targets", () => {
  it("is pruned in the same way in this process and at a host, even if few or no tokens reach some experts", async () => {
    await using host = await openLocalHost("cpu");
    const [[, { model, fixture: { windows } }]] = mixtures, layers = linearLayers(model.spec);
    const prune = async (pruner: RoundSolver) => {
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
    assertSame(await prune(serverPruner(host.pare)), results);
    const unreached = results.filter(({ tokens }) => tokens === 0);
    assert.ok(unreached.length > 0);
    for (const { name, values } of unreached) {
      const dense = floatsOf(await readTensor(model.weights, name));
      assert.ok(values.every((value, i) => value === 0 || value === dense[i]), name);
    }
    const steps = results.map(({ report }) => report.target_step!);
    assert.ok(steps.every((step) => [0, 0.25, 0.5].includes(step)), `${steps}`);
    assert.ok(results.some(({ report }) => report.validation_error === undefined));
    assert.equal(host.backend.counters.bytesLive, 0);
  });
});

/** Tests the groups of layers that the calibration of a run gives to a solver: their order, Hessians and replacements, and the memory that they take. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import type { LayerInputs } from "../../src/protocol/run/solve_round.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import type { CalibrationStep } from "../../src/prune/calibration_steps.ts";
import { bytesToFloats, floatsToBytes } from "../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";
import { gram } from "../reference/hessian.ts";
import { forwardOpt, type OptReference, readOptReference } from "../reference/opt_forward.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { replaceWeights, type RunOptions, solveBlocks } from "../support/solve_blocks.ts";
import { serverPruner } from "../../src/prune/server_pruner.ts";
import type { Report } from "../../src/protocol/messages.ts";
import { halved, OPT_SOTU_URL, sotuTokens, useOptSotu } from "../support/opt_sotu.ts";

const LAYERS = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj fc1 fc2".split(" ");

const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 3, seqlen: 20 });
const untouched = (layer: { weight: HostTensor }) => layer.weight;

/**
 * Computes the Hessian Σ x·xᵀ with the float64 reference code, where x runs over the inputs of a layer for
 * all tokens of the windows `of`. Returns its packed upper triangle.
 */
function expectedHessian(model: OptReference, name: string, of = windows): Float64Array {
  const inputs = of.map((window) => forwardOpt(model, window).inputs.get(name) ?? new Float64Array());
  const x = Float64Array.from(inputs.flatMap((input) => [...input]));
  const tokens = of.length * of[0].length, size = x.length / tokens;
  const h = gram(x, tokens, size);
  const packed: number[] = [];
  for (let i = 0; i < size; i++) packed.push(...h.subarray(i * size + i, (i + 1) * size));
  return Float64Array.from(packed);
}

describe("the calibration of a run", () => {
  const opt = useOptSotu();
  let backend: Backend;
  before(async () => backend = await createCpuBackend());
  after(() => backend.dispose());

  /** Calls `visit` with every group and replaces the weight of each layer by the result of `weightOf`. */
  async function replaceAll(
    weightOf: (layer: { weight: HostTensor }) => HostTensor,
    visit: (group: LayerInputs) => void = () => {},
    options: Partial<RunOptions> = {},
  ): Promise<void> {
    const solver = serverPruner({
      async *solveRound(groups) {
        for await (const group of groups) {
          visit(group);
          for (const layer of group.layers) {
            yield { group, layer, weight: weightOf(layer), report: {} as Report };
          }
        }
      },
    });
    await solveBlocks(opt.model, backend, { windows, ...options }, solver);
  }

  it("gives every layer once, in order, with its weight", async () => {
    const groups: string[][] = [];
    const weights = new Map<string, HostTensor>();
    await replaceAll(untouched, ({ block, layers }) => {
      groups.push(layers.map(({ name }) => name.replace(`model.decoder.layers.${block}.`, `${block}.`)));
      for (const { name, weight } of layers) weights.set(name, weight);
    });
    const expected = [0, 1, 2, 3].flatMap((block) => {
      const names = LAYERS.map((layer) => `${block}.${layer}.weight`);
      return [names.slice(0, 3), ...names.slice(3).map((name) => [name])];
    });
    assert.deepEqual(groups, expected);
    for (const [name, weight] of weights) assert.deepEqual(weight, await opt.checkpoint.tensor(name));
  });

  it("computes the Hessians of each dense block from the outputs of the pruned blocks before it", async () => {
    const reference = readOptReference(OPT_SOTU_URL);
    let block = 0;
    const written = new Map<string, HostTensor>();
    const replace = (name: string, weight: HostTensor) => Promise.resolve(void written.set(name, weight));
    await replaceAll(({ weight }) => halved(weight), (group) => {
      if (group.block !== block) {
        for (const [name, { data }] of written) {
          reference.tensors.set(name, Float64Array.from(bytesToFloats(data, "F16")));
        }
        block = group.block;
      }
      const [{ name }] = group.layers;
      assertClose(asFloat32(group.hessian!.data), expectedHessian(reference, name), 1e-5, { label: name });
    }, { replace });
    assert.equal(written.size, 24);
  });

  it("computes each Hessian after the earlier groups of the same block were pruned, with trueSequential", async () => {
    const reference = readOptReference(OPT_SOTU_URL);
    const replace = (name: string, { data }: HostTensor) => {
      return Promise.resolve(void reference.tensors.set(name, Float64Array.from(bytesToFloats(data, "F16"))));
    };
    const hessians: Float32Array[] = [];
    await replaceAll(({ weight }) => halved(weight), (group) => {
      const [{ name }] = group.layers;
      const hessian = asFloat32(group.hessian!.data);
      assertClose(hessian, expectedHessian(reference, name), 1e-5, { label: name });
      hessians.push(hessian);
    }, { replace, trueSequential: true });
    assert.equal(hessians.length, 16);
    const dense: Float32Array[] = [];
    await replaceAll(({ weight }) => halved(weight), ({ hessian }) => dense.push(asFloat32(hessian!.data)));
    assertSame(hessians[0], dense[0]); // no layer is pruned before the first group
    assert.notDeepEqual(hessians[1], dense[1]);
  });

  for (const trueSequential of [false, true]) {
    it(`sums the held-out windows in validation Hessians only, ${trueSequential ? "with" : "without"} trueSequential`, async () => {
      const reference = readOptReference(OPT_SOTU_URL);
      const heldOut = calibrationWindows(await sotuTokens("evaluation"), { windows: 2, seqlen: 20 });
      const pruned = new Map<string, Float64Array>();
      const replace = (name: string, { data }: HostTensor) =>
        Promise.resolve(void pruned.set(name, Float64Array.from(bytesToFloats(data, "F16"))));
      let block = 0, groups = 0;
      const options = { replace, trueSequential, validationWindows: heldOut };
      await replaceAll(({ weight }) => halved(weight), (group) => {
        if (group.block !== block || trueSequential) {
          for (const [name, values] of pruned) reference.tensors.set(name, values);
        }
        block = group.block;
        const [{ name }] = group.layers;
        assertClose(asFloat32(group.hessian!.data), expectedHessian(reference, name), 1e-5, { label: name });
        const expected = expectedHessian(reference, name, heldOut);
        assertClose(asFloat32(group.validationHessian!.data), expected, 1e-5, { label: `${name}, held out` });
        groups++;
      }, options);
      assert.equal(groups, 16);
    });
  }

  it("gives the same Hessians of the fitted windows, bit by bit, whether others are held out or not", async () => {
    const sums = async (validationWindows: readonly Uint32Array[]) => {
      const hessians: (Uint8Array | undefined)[] = [];
      const visit = ({ hessian, validationHessian }: LayerInputs) => {
        hessians.push(hessian!.data);
        assert.equal(validationHessian === undefined, validationWindows.length === 0);
      };
      await replaceAll(({ weight }) => halved(weight), visit, { validationWindows });
      return hessians;
    };
    assert.deepEqual(await sums(windows.slice(1)), await sums([]));
  });

  it("weighs the tokens as the query of the layer says, which is one query for layers with the same inputs", async () => {
    const traces = new Map<string, number>();
    const measure = ({ hessian, layers: [{ name, weight }] }: LayerInputs) => {
      const values = asFloat32(hessian!.data), size = weight.shape[1];
      const diagonal = Array.from({ length: size }, (_, i) => values[i * size - i * (i - 1) / 2]);
      traces.set(name, diagonal.reduce((sum, entry) => sum + entry) / size);
    };
    const tokenWeightsOf = (name: string) => name.includes("fc") ? "unit" as const : "none" as const;
    await replaceAll(untouched, measure, { tokenWeightsOf });
    const tokens = windows.length * windows[0].length;
    for (const [name, trace] of traces) {
      assert.equal(Math.abs(trace / tokens - 1) < 1e-4, name.includes("fc"), `${name}: ${trace}`);
    }
    await assert.rejects(
      replaceAll(untouched, undefined, {
        tokenWeightsOf: (name) => name.includes("q_proj") ? "unit" : "none",
      }),
      /^RangeError: token_weights: .*q_proj.* has unit and .*k_proj.* has none, but both layers have the same inputs/,
    );
  });

  it("stores replacements in the dtype of the checkpoint", async () => {
    await replaceAll(({ weight }) => halved(weight), undefined, {
      replace: async (name, { dtype, data }) => {
        assert.equal(dtype, "F16");
        const { data: dense } = await opt.checkpoint.tensor(name);
        const values = bytesToFloats(dense, "F16").map((value, i) => i % 2 === 0 ? value : 0);
        assert.deepEqual(data, floatsToBytes(values, "F16"));
      },
    });
  });

  it("requires that every layer is solved, with its shape, before the next round", async () => {
    const misshapen = ({ weight }: { weight: HostTensor }) => ({ ...weight, shape: [...weight.shape, 1] });
    await assert.rejects(replaceAll(misshapen), { name: "RangeError", message: /needs shape/ });
    const solver = { async *solveRound() {} };
    await assert.rejects(solveBlocks(opt.model, backend, { windows }, solver), {
      message: /layers.0.self_attn.q_proj.weight: the solver has returned no weight/,
    });
  });

  it("frees the device's memory at the end, after the solver fails, and when it is aborted", async () => {
    const live = backend.counters.bytesLive;
    await replaceAll(untouched);
    assert.equal(backend.counters.bytesLive, live);
    const failed = replaceWeights(opt.model, backend, { windows }, () => {
      assert.ok(backend.counters.bytesLive > live);
      throw new Error("stopped");
    });
    await assert.rejects(failed, /stopped/);
    assert.equal(backend.counters.bytesLive, live);
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(replaceAll(untouched, undefined, { signal }), /enough/);
    assert.equal(backend.counters.bytesLive, live);
  });

  it("has only hidden states and Hessians on the device while layers are solved", async () => {
    // The copy of the states that changes while a block is observed is freed with the activations.
    const states = 3 * 20 * 192 * 4;
    const live = backend.counters.bytesLive, used: number[] = [];
    await replaceAll(untouched, () => used.push(backend.counters.bytesLive - live - states));
    const [out, fc1, fc2] = [192, 192, 768].map((size) => size ** 2 * 4);
    const left = [out + fc1 + fc2, fc1 + fc2, fc2, 0]; // the Hessian of a group is freed when the group is yielded
    assert.deepEqual(used, [0, 1, 2, 3].flatMap(() => left));
  });

  it("reports two forward passes for each block but the last, and one for the last block", async () => {
    const steps: string[] = [];
    const progress = ({ done, total, pass }: CalibrationStep) => void steps.push(`${pass} ${done}/${total}`);
    await replaceAll(untouched, undefined, { progress });
    const passes = [...Array(3).fill(["observe", "run"]).flat(), "observe"];
    assert.deepEqual(steps, passes.map((pass, i) => `${pass} ${i + 1}/7`));
  });
});

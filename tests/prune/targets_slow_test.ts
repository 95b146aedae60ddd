/** Tests the targets of the layers of a run with a dense stream, against forward passes in float64. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readMatrix } from "../../src/device/tiled_matrix.ts";
import { TargetStatistics } from "../../src/layer/calibration/target_statistics.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import type { PrunedLayer } from "../../src/client/layer_file.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { HiddenStatesFolder } from "../../src/model/hidden_states/hidden_states_folder.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { replaceWeights, type RunOptions, solveBlocks } from "../support/solve_blocks.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";
import { bytesToFloats } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import {
  forwardOpt,
  type ForwardResult,
  type OptReference,
  readOptReference,
} from "../reference/opt_forward.ts";
import { referenceTarget } from "../reference/target_statistics.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { memoize } from "../support/memoize.ts";
import { halved, OPT_SOTU_URL, sotuTokens, useOptSotu } from "../support/opt_sotu.ts";

const SEQLEN = 12;
const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 3, seqlen: SEQLEN });
const heldOut = calibrationWindows(await sotuTokens("evaluation"), { windows: 2, seqlen: SEQLEN });
const prefix = (block: number) => `model.decoder.layers.${block}.`;

/** The rows of all windows. */
function joined(
  results: readonly ForwardResult[],
  rowsOf: (result: ForwardResult, window: number) => Float64Array,
) {
  return Float64Array.from(results.flatMap((result, i) => [...rowsOf(result, i)]));
}

/** Returns the forward pass of a model, which runs once per window until the model changes. */
function memoizedForward(model: OptReference) {
  return memoize((window: Uint32Array) => forwardOpt(model, window));
}

const denseReference = readOptReference(OPT_SOTU_URL), forwardDense = memoizedForward(denseReference);

/** The target of a layer over the tokens of some windows. `forwardPruned` has the dense weights in the layers that are not pruned yet. */
function expectedTarget(
  forwardPruned: typeof forwardDense,
  block: number,
  layer: string,
  isWeighted: boolean,
  over: readonly Uint32Array[],
): Float64Array {
  const name = `${prefix(block)}${layer}.weight`, weight = denseReference.tensors.get(name)!;
  const [d, p] = [forwardDense, forwardPruned].map((forward) => over.map(forward));
  const [xd, xp] = [d, p].map((results) => joined(results, ({ inputs }) => inputs.get(name)!));
  const rows = over.length * SEQLEN,
    inFeatures = xd.length / rows,
    outFeatures = weight.length / inFeatures;
  let residual: Float64Array | undefined;
  if (layer === "self_attn.out_proj" && block > 0) {
    const [rd, rp] = [d, p].map((results) => joined(results, ({ outputs }) => outputs[block - 1]));
    residual = rd.map((value, i) => value - rp[i]);
  } else if (layer === "fc2") {
    // The output of the block is the stream before fc2 plus the outputs of fc2, whose bias is the same in both models.
    const [rd, rp] = [[d, xd], [p, xp]].map(([results, x]) => {
      const outputs = joined(results as ForwardResult[], ({ outputs }) => outputs[block]);
      return outputs.map((value, at) => {
        const t = Math.floor(at / outFeatures), o = at % outFeatures;
        for (let i = 0; i < inFeatures; i++) {
          value -= weight[o * inFeatures + i] * (x[t * inFeatures + i] as number);
        }
        return value;
      });
    });
    residual = rd.map((value, i) => value - rp[i]);
  }
  return referenceTarget({ rows, inFeatures, outFeatures, weight, xd, xp, residual, isWeighted });
}

const opt = useOptSotu();

/** The bytes of the activations of one window. */
const WINDOW_BYTES = 160_000;

eachBackend("a calibration with targets", (backend) => {
  for (
    const [what, options] of [
      ["one window per batch", { memory: { activationBytes: WINDOW_BYTES } }],
      ["states in host memory and held-out windows", {
        memory: { activationBytes: 2 * WINDOW_BYTES, hiddenStatesBytes: 0 },
        validationWindows: heldOut,
      }],
      ["all windows in one batch, and tokens of equal length", { tokenWeightsOf: () => "unit" }],
      ["one group calibrated after the other", { trueSequential: true }],
    ] as readonly (readonly [string, Partial<RunOptions>])[]
  ) {
    it(`gives the layers the outputs of the dense model as their targets, with ${what}`, async () => {
      const pruned = readOptReference(OPT_SOTU_URL);
      let forwardPruned = memoizedForward(pruned);
      const written = new Map<string, Float64Array>();
      const replace = (name: string, { data }: HostTensor) =>
        Promise.resolve(void written.set(name, Float64Array.from(bytesToFloats(data, "F16"))));
      let block = 0, compared = 0;
      const run = { windows, hasTargets: true, replace, ...options };
      await replaceWeights(opt.model, backend(), run, async ({ name, weight, solution }, group) => {
        if (solution === "without") return halved(weight);
        if (options.trueSequential || group.block !== block) {
          for (const [name, values] of written) pruned.tensors.set(name, values);
          forwardPruned = memoizedForward(pruned);
        }
        block = group.block;
        const sums = [[group.hessian, windows], [
          group.validationHessian,
          options.validationWindows,
        ]] as const;
        for (const [statistics, over] of sums) {
          assert.equal(statistics instanceof TargetStatistics, over !== undefined);
          if (!(statistics instanceof TargetStatistics) || !over) continue;
          const target = statistics.target(weight),
            layer = name.slice(prefix(block).length).replace(".weight", "");
          if (block !== 2) {
            const isWeighted = options.tokenWeightsOf !== undefined;
            const expected = expectedTarget(forwardPruned, block, layer, isWeighted, over);
            assertClose(await readMatrix(backend(), target), expected, 1e-5, { label: name });
            compared++;
          }
          target.destroy();
        }
        return halved(weight);
      });
      assert.equal(compared, options.validationWindows ? 36 : 18);
      assert.equal(backend().counters.bytesLive, 0);
    });
  }

  it("prunes each layer as if its target were sent together with its Hessian", async () => {
    const layers = { has: (name: string) => name.startsWith(prefix(0)) || name.startsWith(prefix(1)) };
    const options = { windows, hasTargets: true, layers };
    const query: LayerQuery = { sparsity: 0.5, target_step: 0.25 }, pruner = new DevicePruner(backend());
    const sent = new Map<string, PrunedLayer>();
    await replaceWeights(opt.model, backend(), options, async ({ name, weight }, group) => {
      const statistics = group.hessian as TargetStatistics, hessian_upper = await statistics.packedUpper();
      const matrix = statistics.target(weight), values = await readMatrix(backend(), matrix);
      matrix.destroy();
      const target: HostTensor = { dtype: "F32", shape: weight.shape, data: new Uint8Array(values.buffer) };
      const solved = await pruner.pruneLayer({ weight, hessian_upper, target }, query);
      sent.set(name, solved);
      return solved.weight;
    });
    const run = new Map<string, HostTensor>();
    const replace = (name: string, weight: HostTensor) => Promise.resolve(void run.set(name, weight));
    let improved = 0;
    for (const solved of await solveBlocks(opt.model, backend(), { ...options, replace }, pruner, query)) {
      const { name } = solved.layer, { weight, report } = sent.get(name)!;
      assertSame(run.get(name)!.data, weight.data, name);
      assert.deepEqual(solved.report.target_change, report.target_change);
      if (report.target_change!.step! < -1e-6) improved++;
    }
    assert.equal(sent.size, 12);
    // Both streams have the same inputs in the first block, so only the layers of the second have something to make up for.
    assert.equal(improved, 6);
    assert.equal(backend().counters.bytesLive, 0);
  });

  for (const trueSequential of [false, true]) {
    it(`gives the same statistics after a resumption, also in the middle of a block, with trueSequential ${trueSequential}`, () =>
      withTemporaryFolder(async (folder) => {
        const hiddenStates = {
          folder: new HiddenStatesFolder(denoFileSystem, folder),
          location: "memory",
        } as const;
        const replaced = new Map<string, HostTensor>();
        const replace = (name: string, weight: HostTensor) =>
          Promise.resolve(void replaced.set(name, weight));
        /** Prunes until `last` is replaced, and returns the targets. */
        const run = async (last: string | undefined, options: Partial<RunOptions>) => {
          const targets = new Map<string, Float32Array>();
          const all = { windows, hasTargets: true, trueSequential, ...options };
          const running = replaceWeights(opt.model, backend(), all, async ({ name, weight }, group) => {
            if (targets.has(last ?? "")) throw new Error("stopped");
            const target = (group.hessian as TargetStatistics).target(weight);
            targets.set(name, await readMatrix(backend(), target));
            target.destroy();
            return halved(weight);
          });
          await (last === undefined ? running : assert.rejects(running, /stopped/));
          assert.equal(backend().counters.bytesLive, 0);
          return targets;
        };
        const whole = await run(undefined, {});
        await run(`${prefix(2)}self_attn.out_proj.weight`, { hiddenStates, replace });
        assert.equal(await hiddenStates.folder.lastBlock(), 2);
        const done = replaced.size, readFinished = (name: string) => Promise.resolve(replaced.get(name)!);
        const finished = new Set(replaced.keys());
        const rest = await run(undefined, { hiddenStates, replace, finished, readFinished });
        assert.deepEqual([done, rest.size], [16, 8]);
        for (const [name, target] of rest) assertSame(target, whole.get(name)!, name);
      }));
  }
});

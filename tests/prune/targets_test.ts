/** Tests the targets of the layers of a run with a dense stream, against forward passes in float64. */

import { after, before, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readMatrix } from "../../src/device/tiled_matrix.ts";
import { TargetStatistics } from "../../src/layer/calibration/target_statistics.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import type { Checkpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { type Model, openModel } from "../../src/model/model.ts";
import { calibratedModel, type CalibrationOptions } from "../../src/prune/calibrated_model.ts";
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
import { eachBackend } from "../support/backends.ts";
import { openOptSotu, OPT_SOTU_URL, sotuTokens } from "../support/opt_sotu.ts";

const SEQLEN = 12;
const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 3, seqlen: SEQLEN });
const heldOut = calibrationWindows(await sotuTokens("evaluation"), { windows: 2, seqlen: SEQLEN });
const prefix = (block: number) => `model.decoder.layers.${block}.`;

/** Sets every other weight to 0. */
function halved({ data, shape }: HostTensor): HostTensor {
  const values = bytesToFloats(data, "F16").map((value, i) => i % 2 === 0 ? value : 0);
  return { dtype: "F32", shape, data: new Uint8Array(values.buffer) };
}

/** The rows of all windows. */
function joined(
  results: readonly ForwardResult[],
  rowsOf: (result: ForwardResult, window: number) => Float64Array,
) {
  return Float64Array.from(results.flatMap((result, i) => [...rowsOf(result, i)]));
}

/** The target of a layer. `pruned` has the dense weights in the layer's block and in later blocks. */
function expectedTarget(
  dense: OptReference,
  pruned: OptReference,
  block: number,
  layer: string,
): Float64Array {
  const name = `${prefix(block)}${layer}.weight`, weight = dense.tensors.get(name)!;
  const [d, p] = [dense, pruned].map((model) => windows.map((window) => forwardOpt(model, window)));
  const [xd, xp] = [d, p].map((results) => joined(results, ({ inputs }) => inputs.get(name)!));
  const rows = windows.length * SEQLEN,
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
  return referenceTarget({ rows, inFeatures, outFeatures, weight, xd, xp, residual });
}

let model: Model, checkpoint: Checkpoint;
before(async () => {
  checkpoint = await openOptSotu();
  model = openModel(checkpoint);
});
after(() => checkpoint.close());

/** The bytes of the activations of one window. */
const WINDOW_BYTES = 160_000;

eachBackend("calibratedModel with targets", (backend) => {
  for (
    const [what, options] of [
      ["one window per batch", { memory: { activationBytes: WINDOW_BYTES } }],
      ["states in host memory and held-out windows", {
        memory: { activationBytes: 2 * WINDOW_BYTES, hiddenStatesBytes: 0 },
        validationWindows: heldOut,
      }],
      ["all windows in one batch", {}],
    ] as readonly (readonly [string, Partial<CalibrationOptions>])[]
  ) {
    it(`gives the layers the outputs of the dense model as their targets, with ${what}`, async () => {
      const dense = readOptReference(OPT_SOTU_URL), pruned = readOptReference(OPT_SOTU_URL);
      const written = new Map<string, Float64Array>();
      const onReplace = (name: string, { data }: HostTensor) =>
        Promise.resolve(void written.set(name, Float64Array.from(bytesToFloats(data, "F16"))));
      const source = calibratedModel(model, backend(), { windows, hasTargets: true, onReplace, ...options });
      let block = 0, compared = 0;
      for await (const group of source.groups()) {
        if (group.block !== block) { for (const [name, values] of written) pruned.tensors.set(name, values); }
        block = group.block;
        const statistics = group.hessian;
        assert.ok(statistics instanceof TargetStatistics);
        for (const { name, weight } of group.layers) {
          const target = statistics.target(weight),
            layer = name.slice(prefix(block).length).replace(".weight", "");
          if (block !== 2) {
            const expected = expectedTarget(dense, pruned, block, layer);
            assertClose(await readMatrix(backend(), target), expected, 1e-5, { label: name });
            compared++;
          }
          target.destroy();
          await group.replace(name, halved(weight));
        }
      }
      assert.equal(compared, 18);
      assert.equal(backend().counters.bytesLive, 0);
    });
  }

  it("refuses what does not work with targets", () => {
    const open = (options: Partial<CalibrationOptions>) => () =>
      calibratedModel(model, backend(), { windows, hasTargets: true, ...options });
    assert.throws(
      open({ trueSequential: true }),
      /^RangeError: target dense: does not work with true-sequential/,
    );
  });
});

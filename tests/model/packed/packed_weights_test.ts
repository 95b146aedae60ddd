/** Tests which layers the layouts of other programs refuse. `tests/cli/export_packed_slow_test.ts` tests whole models. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type LinearSpec, linearSpec } from "../../../src/model/layer_specs.ts";
import type { Model } from "../../../src/model/model.ts";
import { GPTQ } from "../../../src/model/formats/gptq.ts";
import { PACK_QUANTIZED_FORMAT } from "../../../src/model/formats/pack_quantized.ts";
import { packedWeights } from "../../../src/model/packed/write_packed.ts";

/** A model with one layer, whose weight is in BF16. */
function modelWith(linear: LinearSpec): Model {
  const block = { prefix: (index: number) => `layers.${index}.`, groups: [[linear]] };
  const shape = [linear.outFeatures, linear.inFeatures];
  return {
    spec: { blockCount: 1, block: () => block },
    weights: { info: () => ({ dtype: "BF16", shape }) },
  } as unknown as Model;
}

describe("packedWeights()", () => {
  it("lists the linear layers of the blocks", () => {
    assert.deepEqual(packedWeights("m", modelWith(linearSpec("fc", 64, 8)), GPTQ), [{
      name: "layers.0.fc.weight",
      rows: 8,
      cols: 64,
      dtype: "BF16",
    }]);
  });

  it("refuses experts, rows and dtypes that a layout cannot store", () => {
    const refused = (linear: LinearSpec, layout: typeof GPTQ, message: RegExp) =>
      assert.throws(() => packedWeights("m", modelWith(linear), layout), { name: "ModelError", message });
    const expert = { ...linearSpec("experts.1.w1", 64, 8), expertRole: "w1" };
    refused(
      expert,
      GPTQ,
      /^m: layers\.0\.experts\.1\.w1\.weight belongs to an expert, which gptq does not support/,
    );
    refused(
      linearSpec("fc", 48, 8),
      GPTQ,
      /fc\.weight has rows of 48 weights, but gptq needs a multiple of 32/,
    );
    refused(linearSpec("fc", 64, 12), GPTQ, /fc\.weight has 12 rows, but gptq needs a multiple of 8/);
    refused(
      linearSpec("fc", 64, 8),
      PACK_QUANTIZED_FORMAT,
      /is in BF16, in which pack-quantized would round the scales/,
    );
  });
});

/** Tests the grids that `pare prune --format pack-quantized` takes by default. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { LayerChoice } from "../../src/cli/prune/choice_options.ts";
import { commonDtype, storableChoice, storableQuery } from "../../src/cli/prune/storable_grids.ts";
import type { TensorSource } from "../../src/model/checkpoint/tensor_source.ts";
import { GPTQ } from "../../src/model/formats/gptq.ts";
import { PACK_QUANTIZED_FORMAT as PACKED } from "../../src/model/formats/pack_quantized.ts";
import { linearSpec } from "../../src/model/layer_specs.ts";
import type { SizedLayer } from "../../src/prune/block_plan.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";

describe("storableQuery()", () => {
  it("chooses symmetric grids in groups of 32, with scales in the dtype of the weights", () => {
    const grid = { group_size: 32, symmetric: true, scale_dtype: "BF16" };
    assert.deepEqual(storableQuery({ bits: 4 }, "BF16", PACKED), { bits: 4, ...grid });
    assert.deepEqual(storableQuery({ bits: 8, pattern: "2:4", symmetric: true }, "BF16", PACKED), {
      bits: 8,
      pattern: "2:4",
      ...grid,
    });
    assert.deepEqual(storableQuery({ bits: 4 }, undefined, PACKED), {
      bits: 4,
      group_size: 32,
      symmetric: true,
    });
  });

  it("chooses scales in F16 for gptq, and in BF16 if the weights have it", () => {
    const scales = (["F32", "F16", "BF16"] as const).map((dtype) =>
      storableQuery({ bits: 4 }, dtype, GPTQ).scale_dtype
    );
    assert.deepEqual(scales, ["F16", "F16", "BF16"]);
  });

  it("leaves what the options name", () => {
    for (
      const query of [{ group_size: 64 }, { group_size: 0 }, { order: "activation" }] satisfies LayerQuery[]
    ) {
      assert.deepEqual(storableQuery({ bits: 4, ...query }, "F16", PACKED), {
        bits: 4,
        ...query,
        scale_dtype: "F16",
      });
    }
    assert.equal(storableQuery({ bits: 4, scale_dtype: "F32" }, "F16", PACKED).scale_dtype, "F32");
    assert.deepEqual(storableQuery({ sparsity: 0.5 }, "F16", PACKED), { sparsity: 0.5 });
  });

  it("chooses grids per row if groups of 32 do not fit the pattern or the block size", () => {
    for (const query of [{ pattern: "1:3" }, { blocksize: 48 }] satisfies LayerQuery[]) {
      const { group_size, symmetric } = storableQuery({ bits: 4, ...query }, "F32", PACKED);
      assert.deepEqual([group_size, symmetric], [0, true]);
    }
  });
});

describe("storableChoice()", () => {
  /** Two layers. The columns of the second are not a multiple of 32. */
  const layers: SizedLayer[] = [["a", 64], ["b", 48]].map(([name, cols]) => (
    {
      name: `${name}.weight`,
      block: 0,
      linear: linearSpec(String(name), Number(cols), 8),
      rows: 8,
      cols: Number(cols),
    }
  ));
  const weights = { info: (name: string) => ({ dtype: name === "a.weight" ? "F16" : "BF16", shape: [] }) };

  function queries(query: LayerQuery) {
    const choice = { chosen: new Map(), skipped: [], queryOf: () => query } as unknown as LayerChoice;
    const { choice: { queryOf }, perRow } = storableChoice(
      choice,
      layers,
      weights as unknown as TensorSource,
      PACKED,
    );
    return { queries: layers.map(({ name }) => queryOf(name)), perRow };
  }

  it("gives a layer one symmetric grid per row if no group divides its rows, and names the layer", () => {
    const { queries: [a, b], perRow } = queries({ bits: 4 });
    assert.deepEqual(a, { bits: 4, group_size: 32, symmetric: true, scale_dtype: "F16" });
    assert.deepEqual(b, { bits: 4, group_size: 0, symmetric: true, scale_dtype: "BF16" });
    assert.deepEqual(perRow, ["b.weight"]);
  });

  it("leaves asymmetric groups as they are, which the check of the format refuses", () => {
    const { queries: [, b], perRow } = queries({ bits: 4, group_size: 32 });
    assert.deepEqual([b.group_size, perRow], [32, []]);
  });

  it("finds no common dtype of layers in F16 and BF16", () => {
    assert.equal(commonDtype(layers, weights as unknown as TensorSource), undefined);
    assert.equal(commonDtype(layers.slice(0, 1), weights as unknown as TensorSource), "F16");
  });
});

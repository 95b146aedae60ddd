/** Tests the check of `pare prune` that a format can store the layers. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { GPTQ } from "../../src/model/formats/gptq.ts";
import { PACK_QUANTIZED_FORMAT } from "../../src/model/formats/pack_quantized.ts";
import { checkFormat } from "../../src/cli/prune/check_format.ts";
import { linearSpec } from "../../src/model/layer_specs.ts";
import type { SizedLayer } from "../../src/prune/block_plan.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";

/** Returns a layer with the given sizes, called NAME.weight. */
function sizedLayer(name: string, rows: number, cols: number): SizedLayer {
  return { name: `${name}.weight`, block: 0, linear: linearSpec(name, cols, rows), rows, cols };
}

/** Checks two layers with 48 columns for pack-quantized. `queries` has the parameters of each. */
function check(...queries: readonly [LayerQuery, LayerQuery]): void {
  const layers = queries.map((_, i) => sizedLayer("ab"[i], 20, 48));
  const queryOf = (name: string) => queries["ab".indexOf(name[0])];
  checkFormat(PACK_QUANTIZED_FORMAT, layers, { queryOf, skipped: [] }, {});
}

describe("checkFormat()", () => {
  it("accepts layers of 2 to 8 bits for pack-quantized if the group size divides the number of columns", () => {
    check({ bits: 4, group_size: 16 }, { bits: 4, group_size: 16 });
    check({ bits: 3, group_size: 16 }, { bits: 3, group_size: 16 });
    check({ bits: 2, group_size: 16, symmetric: true }, { bits: 3, symmetric: true });
    check({ bits: 4, symmetric: true }, { bits: 8, group_size: 16, symmetric: true });
  });

  it("rejects several kinds of grids for pack-quantized if one is asymmetric, and names two layers", () => {
    for (const other of [{ bits: 8 }, { bits: 4, group_size: 16 }, { bits: 4, symmetric: true }]) {
      assert.throws(() => check({ bits: 4 }, other), {
        name: "UsageError",
        message:
          /a\.weight has 4 bits per row, asymmetric and b\.weight has .*; add --symmetric, or give all/,
      });
    }
  });

  it("rejects a layer for pack-quantized if it has no bits, zeros between two codes, or a group size that does not divide its columns", () => {
    const refused = (query: LayerQuery, message: RegExp) =>
      assert.throws(() => check({ bits: 4 }, query), { name: "UsageError", message });
    refused(
      {},
      /option --format pack-quantized: .* but b\.weight is not quantised; prune with --bits 4, or use/,
    );
    refused(
      { bits: 4, scale_bits: 6 },
      /b\.weight: needs integers as zeros, .* scale_bits 6 .*; add --symmetric/,
    );
    refused({ bits: 4, group_size: 32 }, /b\.weight: .* divides the 48 columns of the weight; 32 does not/);
  });

  it("accepts layers for gptq that all have one kind of symmetric grid", () => {
    const four: LayerQuery = { bits: 4, group_size: 32, symmetric: true };
    const gptq = (rows: number, second: LayerQuery, skipped: readonly string[] = []) => {
      const layers = [sizedLayer("a", 16, 64), sizedLayer("b", rows, 64)];
      checkFormat(GPTQ, layers, { queryOf: (name) => name === "a.weight" ? four : second, skipped }, {});
    };
    gptq(8, four);
    const refused = (message: RegExp, ...parts: Parameters<typeof gptq>) =>
      assert.throws(() => gptq(...parts), { name: "UsageError", message });
    refused(/^option --format gptq: b\.weight has 12 rows, but gptq needs a multiple of 8/, 12, four);
    refused(/--format gptq: rounds all linear layers, but c is skipped/, 8, four, ["c"]);
    refused(/has one kind of grid for all layers, but a\.weight has 4 .* and b\.weight has 8 /, 8, {
      ...four,
      bits: 8,
    });
    refused(/symmetric grids in groups of 32 or 64 or 128, not 4 bits in groups of 16/, 8, {
      ...four,
      group_size: 16,
    });
    refused(/symmetric grids .*, not 4 bits in groups of 32, asymmetric/, 8, { ...four, symmetric: false });
    refused(/stores scales in F16, not in F32; leave out --scale-dtype/, 8, { ...four, scale_dtype: "F32" });
  });

  for (
    const [title, changes, reason] of [
      ["of an expert", { expertRole: "e" }, "belongs to an expert"],
      ["that the checkpoint stores transposed", { isTransposed: true }, "is stored transposed \\(Conv1D\\)"],
      ["of a class that is not Linear", { ownClass: "FalconLinear" }, "is of the class FalconLinear"],
    ] as const
  ) {
    it(`rejects a layer ${title} for pack-quantized, which transformers would not load`, () => {
      const layer = sizedLayer("e", 16, 48), layers = [{ ...layer, linear: { ...layer.linear, ...changes } }];
      const queryOf = () => ({ bits: 4 }) as const;
      assert.throws(() => checkFormat(PACK_QUANTIZED_FORMAT, layers, { queryOf, skipped: [] }, {}), {
        name: "UsageError",
        message: new RegExp(`^option --format pack-quantized: e\\.weight ${reason}, .* use --format dense`),
      });
    });
  }

  it("rejects the text part of a multimodal model for pack-quantized, because the other layers are not known", () => {
    const layers = [sizedLayer("a", 16, 48)], queryOf = () => ({ bits: 4 }) as const;
    assert.throws(
      () => checkFormat(PACK_QUANTIZED_FORMAT, layers, { queryOf, skipped: [] }, { isTextPart: true }),
      {
        name: "UsageError",
        message: /^option --format pack-quantized: .* multimodal model, .*; use --format dense/,
      },
    );
  });
});

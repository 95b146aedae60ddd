/** Tests the parameters of layers that are rounded after the reconstruction of their block. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { roundingQueries } from "../../src/prune/run/solve_queries.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import type { LayerEvent } from "../../src/protocol/run/solve_round.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { openModel } from "../../src/model/model.ts";
import { openOptSotu } from "../support/opt_sotu.ts";

describe("roundingQueries()", () => {
  it("keeps the mask of any method as it is, without more zeros in a block of columns", async () => {
    await using cleanup = new AsyncDisposableStack();
    const checkpoint = cleanup.adopt(await openOptSotu(), (opened) => opened.close());
    const model = openModel(checkpoint), [{ name }] = linearLayers(model.spec);
    const queriesOf = (query: LayerQuery) =>
      roundingQueries({ model, windows: [], reconstruct: 1, queryOf: () => query });
    const last = (query: LayerQuery) => queriesOf(query).queryOf(name);
    const rounding = { bits: 4, group_size: 32 } as const;
    assert.deepEqual(last({ method: "alps", sparsity: 0.6, effort: "fast", ...rounding }), {
      method: "sparsegpt",
      sparsity: 0,
      ...rounding,
    });
    assert.deepEqual(last({ method: "alps", sparsity: 0.6, ...rounding }), {
      method: "alps",
      refit: 0,
      sparsity: 0,
      ...rounding,
    });
    assert.deepEqual(last({ pattern: "2:4", target_step: 0.5, ...rounding }), {
      method: "sparsegpt",
      sparsity: 0,
      ...rounding,
    });
    assert.deepEqual(last({ method: "alps", sparsity: 0.6 }), { method: "alps", sparsity: 0.6 });
    // The zeros are those of the first solve, and so is the pattern in the report of the last one.
    const event = {
      type: "layer",
      name,
      report: { pattern: "unstructured", notes: [] },
    } as unknown as LayerEvent;
    assert.equal(queriesOf({ pattern: "2:4", ...rounding }).withNote(event).report.pattern, "2:4");
  });
});

/** Tests that layers which few calibration tokens reach are solved with more damping, and that their reports say so. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { LayerEvent } from "../../src/protocol/run/solve_round.ts";
import { ModelPruner } from "../../src/client/model_pruner.ts";
import { withFewTokens } from "../../src/client/few_tokens.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import type { Report } from "../../src/protocol/messages.ts";
import { f32, modelOf, report } from "./fake_host.ts";

const LAYERS = [{ name: "a.weight", weight: f32([2, 40], Array(80).fill(0)) }];

function reportOf({ method = "sparsegpt", damping = 0.01 }: LayerQuery): Report {
  return {
    ...report(2, 40),
    method,
    damping: method === "wanda" || method === "magnitude" ? null : damping === "auto" ? 0.1 : damping,
    notes: ["A remark of the host."],
  };
}

/** Prunes the model. Returns the query that the layer was solved with, and the notes of its report. */
async function prune(
  tokens: number | undefined,
  query: LayerQuery,
  validationHessian?: HostTensor,
): Promise<{ solved: LayerQuery; notes: string[] }> {
  let solved: LayerQuery = {};
  const events: LayerEvent[] = [];
  class Pruner extends ModelPruner {
    readonly solveRound = withFewTokens(async function* (groups, queryOf) {
      for await (const group of groups) {
        const [layer] = group.layers;
        solved = queryOf(layer);
        yield { group, layer, weight: layer.weight, report: reportOf(solved) };
      }
    });
  }
  const rounds = new Pruner().pruneModel(modelOf({ tokens, validationHessian, layers: LAYERS }), query);
  for await (const event of rounds) if (event.type === "layer") events.push(event);
  return { solved, notes: events[0].report.notes };
}

const HOST_NOTE = "A remark of the host.";

describe("a layer of 40 columns", () => {
  for (const tokens of [undefined, 40, 1000]) {
    it(`is solved with the requested parameters if ${tokens ?? "all"} tokens reach it`, async () => {
      const query = { method: "alps", damping: 0.02 } as const;
      assert.deepEqual(await prune(tokens, query), { solved: query, notes: [HOST_NOTE] });
    });
  }

  for (
    const [tokens, query] of [[39, {}], [10, { damping: 0.02 }], [1, {
      damping: 0.5,
      method: "obc",
    }]] as const
  ) {
    it(`is solved with the largest damping and a note if ${tokens} tokens reach it, for ${JSON.stringify(query)}`, async () => {
      const { solved, notes } = await prune(tokens, query);
      assert.deepEqual(solved, { ...query, damping: 1 });
      const requested = (query as LayerQuery).damping ?? 0.01;
      assert.deepEqual(notes, [
        HOST_NOTE,
        `Only ${tokens} calibration tokens reached this layer, which has 40 columns, so its damping was raised from ` +
        `${requested} to 1.`,
      ]);
    });
  }

  it("has a note without a damping if the method uses none or it cannot be raised, and no note with magnitude", async () => {
    for (const query of [{ method: "wanda" }, { damping: 1 }] as const) {
      const { notes } = await prune(5, query);
      assert.deepEqual(notes, [
        HOST_NOTE,
        "Only 5 calibration tokens reached this layer, which has 40 columns.",
      ]);
    }
    const query = { method: "magnitude" } as const;
    assert.deepEqual(await prune(0, query), { solved: query, notes: [HOST_NOTE] });
  });

  it("cannot choose its damping if few tokens or no held-out tokens reach it", async () => {
    const query = { damping: "auto" } as const,
      held: HostTensor = { dtype: "F32", shape: [820], data: new Uint8Array(3280) };
    for (const tokens of [undefined, 40]) assert.deepEqual((await prune(tokens, query, held)).solved, query);
    for (const tokens of [0, 40]) assert.deepEqual((await prune(tokens, query)).solved, { damping: 0.01 });
    const { solved, notes } = await prune(5, query, held);
    assert.deepEqual(solved, { damping: 1 });
    assert.match(notes[1], /, so its damping is 1\.$/);
  });

  it("cannot choose its step towards a target if no held-out tokens reach it", async () => {
    const query = { target_step: "auto" } as const,
      held: HostTensor = { dtype: "F32", shape: [820], data: new Uint8Array(3280) };
    assert.deepEqual((await prune(40, query, held)).solved, query);
    assert.deepEqual((await prune(40, query)).solved, { target_step: 0.5 });
    assert.deepEqual((await prune(0, { target_step: 0.25 })).solved, { target_step: 0.25 });
  });

  it("has the requested damping and a note if no token reaches it", async () => {
    const { solved, notes } = await prune(0, { damping: 0.02 });
    assert.deepEqual(solved, { damping: 0.02 });
    assert.match(notes[1], /^No calibration token reached this layer, so only the magnitudes/);
  });
});

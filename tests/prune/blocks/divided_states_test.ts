/** Tests where the statistics of a run on several hosts are computed, with hosts that only record what they are asked. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { BlockHost } from "../../../src/client/blocks/block_host.ts";
import { BlockPlan } from "../../../src/prune/block_plan.ts";
import { DividedStates } from "../../../src/prune/blocks/divided_states.ts";
import { readLayers } from "../../../src/prune/open_block.ts";
import type { WindowStates } from "../../../src/prune/blocks/window_states.ts";
import { readFamilyFixture } from "../../support/family_fixtures.ts";

it("DividedStates requests the statistics again if another host gets the states, because that host may have older statistics", async () => {
  const { variants: [{ model, config }] } = await readFamilyFixture("llama");
  const plan = new BlockPlan(model.spec, {}), [round] = plan.rounds(0), asked: string[] = [];
  const names = round.flatMap(({ layers }) => layers.map(({ name }) => name));
  const recorder = (name: string) => ({
    run: () => {
      asked.push(`${name}: run`);
      return Promise.resolve({
        layers: [],
        sums: names.map((name) => ({ name, tokens: 1, validation_tokens: 0 })),
      });
    },
    addSums: () => {
      asked.push(`${name}: add`);
      return Promise.resolve({ sums: {}, targets: new Map() });
    },
  } as unknown as BlockHost);
  let host = recorder("one");
  // Both hosts have states before the block, so none are created.
  const share = {
    creations: 1,
    before: (_block: number, request: (host: BlockHost) => unknown) => request(host),
  } as unknown as WindowStates;
  const run = { model, config, plan, options: { windows: [] }, trained: new Map() };
  const states = new DividedStates(run, [share], undefined, () => Promise.resolve());
  const openBlock = { block: 0, weights: model.weights, replaced: new Map() };
  await states.collect(openBlock, { groups: round, hasTargets: false, advancesDense: false });
  const layers = await readLayers(openBlock, round[0].layers);
  await states.sumsOf(layers);
  host = recorder("two");
  await states.sumsOf(layers);
  await states.sumsOf(layers);
  assert.deepEqual(asked, ["one: run", "one: add", "two: run", "two: add", "two: add"]);
});

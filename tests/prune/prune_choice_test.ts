/** Tests what a calibration leaves out: layers that are not chosen or are already pruned, and forward passes that no layer needs. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { HiddenStatesFolder } from "../../src/model/hidden_states/hidden_states_folder.ts";
import { openModel } from "../../src/model/model.ts";
import { BlockPlan, linearLayers } from "../../src/prune/block_plan.ts";
import type { CalibrationStep } from "../../src/prune/calibration_steps.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { assertSame } from "../support/assert_same.ts";
import { openOptSotu, useOptSotu } from "../support/opt_sotu.ts";
import { replaceWeights, type RunOptions } from "../support/solve_blocks.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const windows = [Uint32Array.of(48, 365, 436, 1160, 72), Uint32Array.of(467, 268, 15, 488, 85)];

/** Returns the full names of weights. `ends` are the names without the common prefix and without `.weight`. */
function names(...ends: readonly string[]): Set<string> {
  return new Set(ends.map((end) => `model.decoder.layers.${end}.weight`));
}

/** Returns the weight with two of every three entries set to 0. */
function thinned({ dtype, shape, data }: HostTensor): HostTensor {
  return { dtype, shape, data: data.map((byte, i) => (i >> 1) % 3 === 0 ? byte : 0) };
}

describe("a calibration with a choice of layers", () => {
  let backend: Backend;
  const opt = useOptSotu();
  /** The labels of all Hessian buffers that were created. */
  let accumulated: string[];
  before(async () => {
    const cpu = await createCpuBackend();
    backend = new Proxy(cpu, {
      get(target, key) {
        const value = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          if (key === "createBuffer" && String(args[0]).startsWith("hessian")) {
            accumulated.push(String(args[0]));
          }
          return Reflect.apply(value, target, args);
        };
      },
    });
  });
  after(() => backend.dispose());

  /** Prunes all groups of the model. Returns the layers and the Hessian of each group, and the number of steps. */
  async function visit(options: Partial<RunOptions>) {
    accumulated = [];
    const groups: string[][] = [], hessians: HostTensor[] = [];
    let steps = "0/0";
    const progress = ({ done, total }: CalibrationStep) => void (steps = `${done}/${total}`);
    await replaceWeights(opt.model, backend, { windows, progress, ...options }, async (layer, group) => {
      if (layer === group.layers[0]) {
        groups.push(
          group.layers.map(({ name }) => name.slice("model.decoder.layers.".length, -".weight".length)),
        );
        hessians.push(await group.hessian!.packedUpper());
      }
      return thinned(layer.weight);
    });
    return { groups, hessians, steps, accumulated: accumulated.length };
  }

  it("runs no block after the block of the last chosen layer, and accumulates Hessians for chosen layers only", async () => {
    const visited = await visit({ layers: names("1.fc1", "1.self_attn.k_proj") });
    assert.deepEqual(visited.groups, [["1.self_attn.k_proj"], ["1.fc1"]]);
    assert.equal(visited.steps, "2/2"); // one pass through block 0, and one to calibrate block 1
    assert.equal(visited.accumulated, 2);
  });

  it("runs a block without chosen layers once, to compute the inputs of the next block", async () => {
    const { groups, steps } = await visit({ layers: names("0.fc2", "3.fc1") });
    assert.deepEqual(groups, [["0.fc2"], ["3.fc1"]]);
    assert.equal(steps, "5/5"); // block 0 twice, blocks 1 and 2 once, block 3 to calibrate it
  });

  it("runs one calibration pass per group with trueSequential", async () => {
    const layers = names("0.self_attn.q_proj", "0.fc1", "0.fc2", "1.fc1");
    assert.equal((await visit({ layers, trueSequential: true })).steps, "5/5");
  });

  it("reads the layers that an earlier run finished, and continues with the same Hessians", async () => {
    const layers = names("0.self_attn.q_proj", "0.self_attn.v_proj", "0.fc1", "1.fc2");
    for (const trueSequential of [false, true]) {
      const replaced = new Map<string, HostTensor>();
      const replace = (name: string, weight: HostTensor) => Promise.resolve(void replaced.set(name, weight));
      const whole = await visit({ layers, trueSequential, replace });
      const readFinished = (name: string) => Promise.resolve(replaced.get(name)!);
      for (const done of [["0.self_attn.q_proj"], ["0.self_attn.q_proj", "0.self_attn.v_proj", "0.fc1"]]) {
        const has = (name: string) => names(...done).has(name);
        const rest = await visit({ layers, trueSequential, finished: { has }, readFinished });
        assert.deepEqual(rest.groups.flat(), whole.groups.flat().filter((name) => !done.includes(name)));
        assertSame(rest.hessians.at(-1), whole.hessians.at(-1));
      }
      const all = await visit({ layers, trueSequential, finished: { has: () => true }, readFinished });
      assert.deepEqual([all.groups, all.steps], [[], "0/0"]);
    }
  });

  it("resumes from stored hidden states without a pass through the blocks before them", () =>
    withTemporaryFolder(async (folder) => {
      const hiddenStates = {
        folder: new HiddenStatesFolder(denoFileSystem, folder),
        location: "memory",
      } as const;
      const whole = await visit({ layers: names("0.fc1", "2.fc1") });
      await visit({ layers: names("0.fc1", "2.fc1"), hiddenStates });
      assert.equal(await hiddenStates.folder.lastBlock(), 2);
      const finished = {
        finished: names("0.fc1"),
        readFinished: () => Promise.reject(new Error("not needed")),
      };
      const rest = await visit({ layers: names("0.fc1", "2.fc1"), hiddenStates, ...finished });
      assert.deepEqual([rest.groups, rest.steps], [[["2.fc1"]], "1/1"]);
      assertSame(rest.hessians, whole.hessians.slice(1));
    }));
});

describe("BlockPlan", () => {
  it("counts two forward passes for each block but the last, and one for the last block", async () => {
    const checkpoint = await openOptSotu();
    const { spec } = openModel(checkpoint);
    await checkpoint.close();
    const plan = new BlockPlan(spec, {});
    assert.equal(plan.passes(0).join(" "), "observe run observe run observe run observe");
    assert.deepEqual([plan.passes(3), plan.lastBlock, plan.layerCount], [["observe"], 3, 24]);
    assert.equal(linearLayers(spec).length, 24);
    const targets = new BlockPlan(spec, {
      hasTargets: true,
      layers: new Set(["model.decoder.layers.1.fc1.weight"]),
    });
    assert.equal(targets.passes(0).join(" "), "run run observe");
    const trained = new BlockPlan(spec, { hasTargets: true, reconstruct: 1 });
    assert.equal(trained.passes(2).join(" "), "observe train run observe train");
    const rounded = new BlockPlan(spec, {
      reconstruct: 1,
      isRounded: (name) => name.includes("2.fc"),
      finished: new Set(["model.decoder.layers.2.fc1.weight"]),
    });
    assert.equal(rounded.passes(2).join(" "), "observe train observe run observe train");
    const nothing = new BlockPlan(spec, { layers: new Set() });
    assert.deepEqual([nothing.passes(0), nothing.lastBlock, nothing.layerCount], [[], -1, 0]);
  });
});

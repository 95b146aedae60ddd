/** Runs the loop of a run over hidden states in this process, with the weights or the solver of a test. */

import type { RoundLayer, SourceLayer } from "../../src/protocol/run/solve_round.ts";
import type { Backend } from "../../src/device/backend.ts";
import { ResourceSet } from "../../src/device/owned.ts";
import type { Model } from "../../src/model/model.ts";
import { BlockPlan } from "../../src/prune/block_plan.ts";
import { LocalStates } from "../../src/prune/local_states.ts";
import type { CalibratedGroup } from "../../src/prune/open_block.ts";
import { pruneBlocks } from "../../src/prune/run.ts";
import type { OpenDestination } from "../../src/prune/run/job.ts";
import { LapClock } from "../../src/prune/run/lap_clock.ts";
import { decidesTargets } from "../../src/prune/target_guard.ts";
import type { CalibrationOptions, RoundSolver } from "../../src/prune/steps.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import type { Report } from "../../src/protocol/messages.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";

/** The options of the calibration, and functions of the destination. */
export type RunOptions = CalibrationOptions & Partial<Omit<OpenDestination, keyof CalibrationOptions>>;

/** Solves the layers of the chosen blocks. Returns the solved layers in order. */
export async function solveBlocks(
  model: Model,
  backend: Backend,
  options: RunOptions,
  solver: Pick<RoundSolver, "solveRound">,
  query: LayerQuery = {},
): Promise<RoundLayer[]> {
  const solved: RoundLayer[] = [];
  if (new BlockPlan(model.spec, options).isEmpty) return solved;
  using scratch = new ResourceSet();
  const states = scratch.add(await LocalStates.begin(backend, model, options));
  const { replace = () => Promise.resolve(), hasTargets = false, validationWindows = [] } = options;
  await pruneBlocks({
    states,
    solver,
    destination: {
      replace,
      recordBlockError: options.recordBlockError,
      recordDecision: options.recordDecision,
      decided: options.decided,
      recordReconstruction: options.recordReconstruction,
    },
    queryOf: () => query,
    unroundedQueryOf: () => ({ ...query, bits: undefined }),
    hasTargets,
    decidesTargets: decidesTargets(
      { target: hasTargets ? "dense" : "none", ...options },
      validationWindows.length,
    ),
    heldOut: validationWindows.length,
    clock: new LapClock(),
    recordLayer: (layer) => Promise.resolve(void solved.push(layer)),
  });
  return solved;
}

/** Replaces each weight by the result of `weightOf`, which is called for the layers in order. */
export function replaceWeights(
  model: Model,
  backend: Backend,
  options: RunOptions,
  weightOf: (layer: SourceLayer, group: CalibratedGroup) => HostTensor | Promise<HostTensor>,
): Promise<RoundLayer[]> {
  return solveBlocks(model, backend, options, {
    async *solveRound(groups) {
      for await (const group of groups) {
        for (const layer of group.layers) {
          yield { group, layer, weight: await weightOf(layer, group), report: {} as Report };
        }
      }
    },
  });
}

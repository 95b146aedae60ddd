/**
 * Prunes the layers of a model into a destination: a folder, the memory of this process, or the measurements of a rehearsal. Everything
 * that prunes a whole model calls `pruneModel`.
 */

import type { HiddenStatesFolder } from "../../model/hidden_states/hidden_states_folder.ts";
import { allocate, withAllocation } from "../allocation/allocate.ts";
import type { Allocation } from "../allocation/allocation.ts";
import { BlockPlan } from "../block_plan.ts";
import { LocalStates, uncalibratedStates } from "../local_states.ts";
import { pruneBlocks } from "../run.ts";
import type { BlockStates, CalibrationOptions } from "../steps.ts";
import { ResourceSet } from "../../device/owned.ts";
import { decidesTargets } from "../target_guard.ts";
import type { Destination, OpenDestination, PruneJob, PruneServices } from "./job.ts";
import { LapClock } from "./lap_clock.ts";
import { isRoundedBy, roundingQueries, weighedJob } from "./solve_queries.ts";
import { TimeLeft } from "./time_left.ts";

/** Prunes the model into the destination, and returns the result of the destination. @throws the error that stopped the run */
export function pruneModel<Result>(
  job: PruneJob & { readonly destination: Destination<Result> },
  services: PruneServices,
): Promise<Result> {
  return job.destination.fill((open) => pruneLayers(job, services, open));
}

async function pruneLayers(given: PruneJob, services: PruneServices, open: OpenDestination): Promise<void> {
  const job = weighedJob(given);
  const { signal, pruner, onLayerDone } = services, clock = new LapClock();
  const { finished = new Set() } = open, hasTargets = job.target === "dense";
  const heldOut = job.validationWindows?.length ?? 0;
  const allocation = job.allocation && await allocationOf(job, services, open);
  const queryOf = allocation ? withAllocation(job.queryOf, allocation) : job.queryOf;
  const timeLeft = new TimeLeft({ ...job, queryOf }, finished),
    rounding = roundingQueries({ ...job, queryOf });
  const options: CalibrationOptions = {
    ...job,
    hasTargets,
    finished,
    readFinished: open.readFinished,
    hiddenStates: open.states && { folder: open.states, location: job.activations ?? "auto" },
    measured: heldOut > 0 ? open.measured : undefined,
    reconstructed: open.reconstructed,
    isRounded: isRoundedBy(queryOf),
    isTrained: job.trainsAllWeights ? () => true : undefined,
    progress(step) {
      timeLeft.addStep(step);
      services.onCalibrationStep?.(step, timeLeft.seconds);
    },
    signal,
  };
  const plan = new BlockPlan(job.model.spec, options), total = finished.size + plan.layerCount;
  onLayerDone?.(finished.size, total);
  if (plan.isEmpty) return;
  clock.lap(); // the first layer does not count the time until here
  using scratch = new ResourceSet();
  const states = scratch.add(await clock.calibrating(beginStates({ ...job, queryOf }, services, options)));
  let done = finished.size;
  await pruneBlocks({
    states,
    solver: pruner,
    destination: open,
    ...rounding,
    hasTargets,
    decidesTargets: decidesTargets(job, heldOut),
    heldOut,
    clock,
    signal,
    async recordLayer({ layer: { name }, group: { block, tokens }, report }) {
      const lap = clock.lap();
      const event = rounding.withNote({
        type: "layer",
        name,
        block,
        done: ++done - finished.size,
        tokens,
        report,
      });
      await open.record?.(event, lap);
      timeLeft.addLayer(name, lap);
      onLayerDone?.(done, total, event, timeLeft.seconds);
    },
    onTrained: services.onReconstruct,
  });
}

/** Returns the states of the run: the solver's own states, states in this process, or states without statistics. */
async function beginStates(
  { model, isCalibrated = true, queryOf }: PruneJob,
  { backend, pruner }: PruneServices,
  options: CalibrationOptions,
): Promise<BlockStates> {
  if (!isCalibrated) return uncalibratedStates(model, options);
  return pruner.begin?.({ model, options, queryOf }) ?? await LocalStates.begin(backend!, model, options);
}

function allocationOf(
  { activations = "auto", queryOf: given, allocation, ...job }: ReturnType<typeof weighedJob>,
  { backend, pruner, signal, onAllocationStep: progress }: PruneServices,
  open: OpenDestination,
): Promise<Allocation> {
  // The layers have no targets yet.
  const queryOf = (name: string) => {
    const { target_step: _step, ...query } = given(name);
    return query;
  };
  const { model, tokenWeightsOf, expertsAtOnce, allExperts, windows, validationWindows } = job;
  const input = { model, queryOf, tokenWeightsOf, expertsAtOnce, allExperts, windows, validationWindows };
  const task = { ...allocation!, ...input, backend: backend!, pruner, signal, progress };
  const choose = (folder?: HiddenStatesFolder) =>
    allocate(allocation!.name, { ...task, hiddenStates: folder && { folder, location: activations } });
  return open.allocation?.(choose) ?? choose();
}

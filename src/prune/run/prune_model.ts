/**
 * Prunes the layers of a model into a destination: a folder, the memory of this process, or the measurements of a rehearsal. Everything
 * that prunes a whole model calls `pruneModel`.
 */

import type { HiddenStatesFolder } from "../../model/hidden_states/hidden_states_folder.ts";
import { allocate, withAllocation } from "../allocation/allocate.ts";
import type { Allocation } from "../allocation/allocation.ts";
import { calibratedModel, type CalibrationOptions } from "../calibrated_model.ts";
import { type CalibratedModel, uncalibratedModel } from "../open_round.ts";
import type { TokenWeightsOf } from "../round_statistics.ts";
import {
  DEFAULT_TOKEN_WEIGHTS,
  type Destination,
  type OpenDestination,
  type PruneJob,
  type PruneServices,
} from "./job.ts";
import { LapClock } from "./lap_clock.ts";
import { isRoundedBy, roundingQueries, withoutRounding } from "./rounding_queries.ts";
import { TimeLeft } from "./time_left.ts";

/** Prunes the model into the destination, and returns the result of the destination. @throws the error that stopped the run */
export function pruneModel<Result>(
  job: PruneJob & { readonly destination: Destination<Result> },
  services: PruneServices,
): Promise<Result> {
  return job.destination.fill((open) => pruneLayers(job, services, open));
}

async function pruneLayers(given: PruneJob, services: PruneServices, open: OpenDestination): Promise<void> {
  const job = withTargetStep(withTokenWeights(given));
  const { signal, pruner, onLayerDone } = services, clock = new LapClock();
  const { finished = new Set() } = open;
  const allocation = job.allocation && await allocationOf(job, services, open);
  const queryOf = allocation ? withAllocation(job.queryOf, allocation) : job.queryOf;
  const timeLeft = new TimeLeft({ ...job, queryOf }, finished);
  const prunable = prunableModel({ ...job, queryOf }, services, { ...open, finished }, clock, timeLeft);
  const rounding = roundingQueries({ ...job, queryOf });
  const source = open.wrap?.(prunable) ?? prunable, total = finished.size + source.layerCount;
  onLayerDone?.(finished.size, total);
  clock.lap(); // the time until here is not that of the first layer
  for await (const event of pruner.pruneModel(clock.timeCalibration(source), rounding.queryOf, { signal })) {
    if (event.type !== "layer") continue;
    const lap = clock.lap();
    await open.record?.(rounding.withNote(event), lap);
    timeLeft.addLayer(event.name, lap);
    onLayerDone?.(finished.size + event.done, total, event, timeLeft.seconds);
  }
}

/** A job whose calibration weighs the tokens. The queries of its layers therefore have no `token_weights`. */
interface WeighedJob extends PruneJob {
  readonly tokenWeightsOf: TokenWeightsOf;
}

function withTokenWeights(job: PruneJob): WeighedJob {
  return {
    ...job,
    tokenWeightsOf: (name) => job.queryOf(name).token_weights ?? DEFAULT_TOKEN_WEIGHTS,
    queryOf(name) {
      const { token_weights: _weights, ...query } = job.queryOf(name);
      return query;
    },
  };
}

/** Lets the held-out windows choose the steps towards targets, unless a query has a step. */
function withTargetStep(job: WeighedJob): WeighedJob {
  if (job.target !== "dense" || !job.validationWindows?.length) return job;
  return { ...job, queryOf: (name) => ({ target_step: "auto", ...job.queryOf(name) }) };
}

function allocationOf(
  { activations = "auto", queryOf: given, allocation, ...job }: WeighedJob,
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

/** Returns the model as a source of the layers that the destination lacks. */
function prunableModel(
  job: WeighedJob,
  { backend, pruner, signal, onCalibrationStep, onReconstruct }: PruneServices,
  { finished, readFinished, states, ...open }: OpenDestination & { readonly finished: ReadonlySet<string> },
  clock: LapClock,
  timeLeft: TimeLeft,
): CalibratedModel {
  const { model, isCalibrated = true, activations: location = "auto", queryOf } = job;
  if (!isCalibrated) return uncalibratedModel(model, open.replace);
  const options: CalibrationOptions = {
    ...job,
    hasTargets: job.target === "dense",
    finished: readFinished && { has: (name) => finished.has(name), read: readFinished },
    hiddenStates: states && { folder: states, location },
    onReplace: open.replace,
    onBlock: open.recordBlock,
    onDecision: open.recordDecision,
    decided: open.decided,
    measured: job.validationWindows?.length ? open.measured : undefined,
    reconstructed: open.reconstructed,
    isRounded: isRoundedBy(queryOf),
    isTrained: job.trainsAllWeights ? () => true : undefined,
    async solveUnrounded(source) {
      const own = new LapClock(), query = (name: string) => withoutRounding(queryOf(name));
      for await (const _ of pruner.pruneModel(own.timeCalibration(source), query, { signal }));
      clock.excludeSolve(own.lap().layers);
    },
    onTrained(block, result) {
      clock.excludeReconstruction(result.seconds);
      onReconstruct?.(block, result);
    },
    onReconstruct: open.recordReconstruction,
    progress: (step) => {
      timeLeft.addStep(step);
      onCalibrationStep?.(step, timeLeft.seconds);
    },
    signal,
  };
  return pruner.calibrate?.(model, options, queryOf) ?? calibratedModel(model, backend!, options);
}

/**
 * Measures the rates of a run before it starts. A rehearsal is the run itself with few calibration windows, up to the end of the largest block, without
 * files. It measures the time of the steps and layers, and the memory.
 */

import type { Backend } from "../../../device/backend.ts";
import type { HessianAccumulator } from "../../../layer/calibration/hessian.ts";
import type { Report } from "../../../protocol/messages.ts";
import type { SolveRound } from "../../../protocol/run/solve_round.ts";
import { planForward } from "../../../model/plan_forward.ts";
import { countWeights } from "../../../model/families/family.ts";
import { countStatesBytes } from "../../../model/hidden_states/hidden_states.ts";
import { linearLayers } from "../../../prune/block_plan.ts";
import type { CalibratedGroup } from "../../../prune/open_block.ts";
import type { FolderJob } from "../../../prune/run/folder_destination.ts";
import type { OpenDestination, PruneServices } from "../../../prune/run/job.ts";
import { pruneModel } from "../../../prune/run/prune_model.ts";
import { layersRoundedLast, withoutRounding } from "../../../prune/run/solve_queries.ts";
import { countPassWork, RunRates } from "../../../prune/run/run_rates.ts";
import { decidesTargets } from "../../../prune/target_guard.ts";
import { partSizes } from "../../../prune/window_parts.ts";

/** The number of batches of windows. The first batch of a pass also reads the weights, so that only later ones show the rate. */
const BATCHES = 2;

/** After this time, the rehearsal solves no further group of layers. At least one group is solved. */
const SOLVE_SECONDS = 10;

/** The time between two readings of the memory of the process. */
const MEMORY_MILLISECONDS = 20;

/** The measurements of a rehearsal. */
export interface Rehearsal {
  readonly rates: RunRates;
  /** The number of calibration windows. */
  readonly windows: number;
  /** The number of solved layers. */
  readonly layers: number;
  /** The bytes of the hidden states of one model, which were in device memory. */
  readonly statesBytes: number;
  /** The largest memory of the device, in bytes. */
  readonly deviceBytes: number;
  /** The memory of the device after a step in which a batch ran through a block: hidden states, weights and activations. */
  readonly stepBytes: number;
  /** The largest memory of the process, in bytes. */
  readonly processBytes: number;
}

/**
 * Rehearses the run.
 * @throws the errors of the run
 */
export async function rehearse(
  job: FolderJob,
  services: PruneServices & { readonly backend: Backend },
): Promise<Rehearsal> {
  const { model, windows, validationWindows = [], layers, queryOf } = job, { backend } = services;
  const chosen = linearLayers(model.spec).filter(({ name }) => layers.has(name));
  const all = [...new Set(chosen.map(({ block }) => block))],
    sizes = all.map((block) => countWeights(model.spec.block(block)));
  // The first blocks of a mixture may have no experts. A large block takes the most memory.
  const largest = all[sizes.indexOf(Math.max(...sizes))];
  const sized = new Map(chosen.map((layer) => [layer.name, layer]));
  const { batches } = planForward(backend, model.spec, windows.length, windows[0].length, {
    parts: partSizes({ windows }),
  });
  const last = batches[Math.min(BATCHES, batches.length) - 1], count = last.first + last.count;
  const heldOut = validationWindows.slice(0, last.count); // at most one batch more
  const rates = new RunRates(queryOf, countPassWork(model.spec, job.target === "dense"));
  // Such runs solve a layer several times before it is stored. The rehearsal solves it once, layer by layer.
  const isRoundedLast = layersRoundedLast(job).size > 0;
  const solves = (decidesTargets(job, heldOut.length) ? 2 : 1) + (isRoundedLast ? 1 : 0);
  let stepBytes = 0, solved = 0;
  const skipped = new Set<string>();
  const output = job.planOutput?.([]);
  const measurements: OpenDestination = {
    decided: new Map([[largest, true]]),
    takeAnswer: async (layer) =>
      skipped.has(layer.layer.name)
        ? layer.weight
        : await output?.takeAnswer?.(layer, () => Promise.resolve()) ?? layer.weight,
    replace: () => Promise.resolve(),
    recordBlockError: () => Promise.resolve(),
    record({ name }, lap) {
      if (skipped.has(name)) return Promise.resolve();
      rates.addLayer(sized.get(name)!, { ...lap, layers: solves * lap.layers });
      solved++;
      return Promise.resolve();
    },
  };
  const memory = new MemoryMeter();
  try {
    await pruneModel({
      ...job,
      windows: windows.slice(0, count),
      validationWindows: heldOut,
      layers: new Set(chosen.filter(({ block }) => block === largest).map(({ name }) => name)),
      runsLast: true,
      queryOf: isRoundedLast ? (name) => withoutRounding(queryOf(name)) : queryOf,
      allocation: undefined,
      activations: undefined,
      reconstruct: Math.min(1, job.reconstruct ?? 0),
      destination: { fill: (prune) => prune(measurements) },
    }, {
      ...services,
      pruner: { ...services.pruner, solveRound: withinDeadline(services.pruner.solveRound, skipped) },
      onCalibrationStep(step) {
        rates.addStep(step);
        // The statistics of a block exist only while they are added up.
        if (step.pass === "run" || stepBytes === 0) stepBytes = backend.counters.bytesLive;
      },
    });
  } finally {
    memory.stop();
  }
  return {
    rates,
    windows: count + heldOut.length,
    layers: solved,
    statesBytes: countStatesBytes(model.spec, count + heldOut.length, windows[0].length),
    deviceBytes: backend.counters.bytesPeak,
    stepBytes,
    processBytes: memory.peakBytes,
  };
}

/** Solves only the groups that are requested within {@link SOLVE_SECONDS}. The layers of later groups keep their weights, and are added to `skipped`. */
function withinDeadline(
  solveRound: SolveRound<HessianAccumulator>,
  skipped: Set<string>,
): SolveRound<HessianAccumulator> {
  let deadline: number | undefined, last: Report | undefined;
  return async function* (groups, ...options) {
    const late: CalibratedGroup[] = [];
    const early = async function* () {
      for await (const group of groups) {
        deadline ??= performance.now() + 1000 * SOLVE_SECONDS;
        if (performance.now() < deadline) yield group;
        else late.push(group);
      }
    };
    for await (const solved of solveRound(early(), ...options)) {
      last = solved.report;
      yield solved;
    }
    for (const group of late) {
      for (const layer of group.layers) {
        skipped.add(layer.name);
        yield { group, layer, weight: layer.weight, report: last! };
      }
    }
  };
}

/** Reads the memory of this process at intervals. */
class MemoryMeter {
  peakBytes = Deno.memoryUsage().rss;
  readonly #timer = setInterval(() => this.#read(), MEMORY_MILLISECONDS);

  stop(): void {
    clearInterval(this.#timer);
    this.#read();
  }

  #read(): void {
    this.peakBytes = Math.max(this.peakBytes, Deno.memoryUsage().rss);
  }
}

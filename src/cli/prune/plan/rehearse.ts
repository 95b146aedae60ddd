/**
 * Measures the rates of a run before it starts. A rehearsal is the run itself with few calibration windows, up to the second of the largest blocks, without
 * files. It measures the time of the steps and layers, and the memory.
 */

import type { Backend } from "../../../device/backend.ts";
import type { LayerGroup } from "../../../client/model_source.ts";
import { planForward } from "../../../model/plan_forward.ts";
import { countWeights } from "../../../model/families/family.ts";
import { countStatesBytes } from "../../../model/hidden_states/hidden_states.ts";
import { linearLayers } from "../../../prune/block_plan.ts";
import type { CalibratedModel } from "../../../prune/open_round.ts";
import type { FolderJob } from "../../../prune/run/folder_destination.ts";
import type { OpenDestination, PruneServices } from "../../../prune/run/job.ts";
import { pruneModel } from "../../../prune/run/prune_model.ts";
import { withoutRounding } from "../../../prune/run/rounding_queries.ts";
import { countPassWork, RunRates } from "../../../prune/run/run_rates.ts";
import { partSizes } from "../../../prune/window_parts.ts";

/** The number of batches of windows. The first batch of a pass also reads the weights, so that only later ones show the rate. */
const BATCHES = 2;

/** After this time, the rehearsal solves no further group of layers. At least one group is solved. */
const SOLVE_SECONDS = 10;

/** The time between two readings of the memory of the process. */
const MEMORY_MILLISECONDS = 20;

/** What a rehearsal has measured. */
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
  {
    model,
    windows,
    validationWindows = [],
    layers,
    queryOf,
    target,
    reconstruct = 0,
    planOutput: planned,
    ...job
  }: FolderJob,
  services: PruneServices & { readonly backend: Backend },
): Promise<Rehearsal> {
  const { backend } = services;
  const chosen = linearLayers(model.spec).filter(({ name }) => layers.has(name));
  const all = [...new Set(chosen.map(({ block }) => block))],
    sizes = all.map((block) => countWeights(model.spec.block(block)));
  // The first blocks of a mixture may have no experts. A large block takes the most memory.
  const first = sizes.indexOf(Math.max(...sizes)), blocks = all.slice(first, first + 2);
  const sized = new Map(chosen.map((layer) => [layer.name, layer]));
  const { batches } = planForward(backend, model.spec, windows.length, windows[0].length, {
    parts: partSizes({ windows }),
  });
  const last = batches[Math.min(BATCHES, batches.length) - 1], count = last.first + last.count;
  const heldOut = validationWindows.slice(0, last.count); // at most one batch more
  const rates = new RunRates(queryOf, countPassWork(model.spec, target === "dense"));
  // Such runs solve a layer several times before it is stored. The rehearsal solves it once, layer by layer.
  const decidesTargets = target === "dense" && heldOut.length > 0 && !job.trueSequential;
  const isRoundedLast = reconstruct > 0 && chosen.some(({ name }) => queryOf(name).bits !== undefined);
  const solves = (decidesTargets ? 2 : 1) + (isRoundedLast ? 1 : 0);
  let stepBytes = 0, solved = 0;
  const output = planned?.([]);
  const measurements: OpenDestination = {
    decided: new Map(blocks.map((block) => [block, true])),
    wrap(source) {
      const first = firstBlockOf(source, blocks[0]);
      return output?.wrap(first, () => Promise.resolve()) ?? first;
    },
    replace: () => Promise.resolve(),
    recordBlock: () => Promise.resolve(),
    record({ name }, lap) {
      rates.addLayer(sized.get(name)!, { ...lap, layers: solves * lap.layers });
      solved++;
      return Promise.resolve();
    },
  };
  const memory = new MemoryMeter();
  try {
    await pruneModel({
      model,
      windows: windows.slice(0, count),
      validationWindows: heldOut,
      layers: new Set(chosen.filter(({ block }) => blocks.includes(block)).map(({ name }) => name)),
      queryOf: isRoundedLast ? (name) => withoutRounding(queryOf(name)) : queryOf,
      trueSequential: job.trueSequential,
      trainsAllWeights: job.trainsAllWeights,
      expertsAtOnce: job.expertsAtOnce,
      allExperts: job.allExperts,
      target,
      reconstruct: Math.min(1, reconstruct),
      destination: { fill: (prune) => prune(measurements) },
    }, {
      ...services,
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

/**
 * Limits a source to one block and to the groups that are requested within {@link SOLVE_SECONDS}. The layers of later groups keep their
 * weights. The source runs on until the first group of the next block, so that the passes between the blocks are measured too.
 */
function firstBlockOf(source: CalibratedModel, firstBlock: number): CalibratedModel {
  return {
    layerCount: source.layerCount,
    async *groups() {
      let deadline: number | undefined;
      for await (const group of source.groups()) {
        if (group.block !== firstBlock) return;
        deadline ??= performance.now() + 1000 * SOLVE_SECONDS;
        yield performance.now() < deadline ? group : await withoutLayers(group);
      }
    },
  };
}

async function withoutLayers<Hessian>(group: LayerGroup<Hessian>): Promise<LayerGroup<Hessian>> {
  for (const { name, weight } of group.layers) await group.replace(name, weight);
  return { ...group, layers: [], replace: () => Promise.resolve() };
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

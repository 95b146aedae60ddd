/** Predicts the memory of a run from the memory of its rehearsal, and its disk space from the plan of its result. */

import type { Backend } from "../../../device/backend.ts";
import { tileEdgeOn } from "../../../device/tiled_matrix.ts";
import { matrixBytes, peakDeviceBytes, upperBytes } from "../../../layer/device_bytes.ts";
import { type ForwardPlan, planForward } from "../../../model/plan_forward.ts";
import { blocksOf, countWeights } from "../../../model/families/family.ts";
import { countHeadBytes } from "../../../model/head.ts";
import { windowsAtOnce } from "../../../model/evaluation/perplexity.ts";
import { countStatesBytes } from "../../../model/hidden_states/hidden_states.ts";
import { DEFAULT_TARGET_STEP, PART_WINDOWS } from "../../../protocol/limits.ts";
import { layerQuerySchema, resolveParameters } from "../../../protocol/parameters.ts";
import type { BlockPlan, SizedLayer } from "../../../prune/block_plan.ts";
import { tensorBytes } from "../../../tensor/dtype.ts";
import type { FolderJob } from "../../../prune/run/folder_destination.ts";
import type { Rehearsal } from "./rehearse.ts";
import { countPlannedBytes } from "../../../model/checkpoint/write/write_plan.ts";
import type { WorkFileSystem } from "../../../base/files/file_system.ts";
import { planOutput } from "../../../prune/run/plan_output.ts";

/** The peaks of the memory of a run, in bytes. */
export interface MemoryUse {
  /** The resident memory of the process, with the memory of the device if the device is the CPU. */
  readonly process: number;
  readonly device: number;
}

/**
 * Returns the peaks of the memory: the peaks of the rehearsal, with the hidden states of all windows, the head of the model, and the layers
 * that the rehearsal has not solved. If there are several parts of windows, the statistics of a round are on the device twice.
 * @param hosts the number of hosts that solve the layers; 0 if the backend solves them
 */
export function memoryUse(
  { model: { spec, weights }, queryOf, target, ...job }: FolderJob,
  layers: readonly SizedLayer[],
  plan: BlockPlan,
  { statesBytes, place }: ForwardPlan,
  rehearsal: Rehearsal,
  { backend, hosts }: { readonly backend: Backend; readonly hosts: number },
): MemoryUse {
  const { windows, validationWindows = [], evaluatedWindows = [] } = job, tokens = windows[0].length;
  // With targets, the states of the dense model are stored too. A reconstruction otherwise stores the outputs of the dense block.
  const hasTargets = target === "dense", copies = hasTargets || plan.trains ? 2 : 1;
  const hasValidation = validationWindows.length > 0, hasValidationTarget = hasTargets && hasValidation;
  const onDevice = place === "device" ? copies * statesBytes : 0;
  // Weights of experts that are streamed are not among the bytes of a step.
  const blockBytes = job.expertsAtOnce === undefined ? 4 * Math.max(...blocksOf(spec).map(countWeights)) : 0;
  const withoutStates = rehearsal.deviceBytes - copies * rehearsal.statesBytes;
  const kinds = [windows.length, validationWindows.length].filter((count) => count > PART_WINDOWS).length;
  const secondSums = kinds === 0 ? 0 : kinds * countSumBytes(plan, tileEdgeOn(backend), hasTargets);
  const unsolved = hosts > 0 ? [] : layers.filter((layer) => !rehearsal.rates.hasMeasured(layer));
  const evaluations = evaluatedWindows.map((count) =>
    planForward(backend, spec, Math.min(count, windowsAtOnce([spec, spec], tokens)), tokens)
  );
  const phases = [
    withoutStates + onDevice + secondSums,
    ...unsolved.map(({ name, ...shape }) =>
      onDevice + peakDeviceBytes(
        { ...shape, edge: tileEdgeOn(backend), hasValidation, hasValidationTarget },
        {
          ...resolveParameters(layerQuerySchema.parse(queryOf(name))),
          targetStep: hasTargets ? DEFAULT_TARGET_STEP : undefined,
        },
        backend,
      )
    ),
    ...evaluations.map(({ batches, statesBytes, place }) => {
      const states = place === "device" ? 2 * statesBytes : 0,
        rows = tokens * Math.max(...batches.map(({ count }) => count));
      // The heads of both models replace the weights of a block, and the states of a batch are copied for both.
      const heads =
        2 * (countHeadBytes(spec, rows, backend.maxBufferBytes) + countStatesBytes(spec, 1, rows)) -
        blockBytes;
      return states + rehearsal.stepBytes - (hasTargets ? 2 : 1) * rehearsal.statesBytes + Math.max(0, heads);
    }),
  ];
  const device = Math.max(...phases);
  const head = weights.info(`${spec.head.name}.weight`);
  const readBytes = evaluatedWindows.length > 0 ? tensorBytes(head.dtype, head.shape) : 0; // the head is read as a whole
  // The states of the dense model are never on the disk.
  const onHost = place === "device" ? 0 : place === "host" ? copies : copies - 1;
  const hostBytes = [
    onHost * statesBytes,
    ...evaluations.map(({ statesBytes, place }) => place === "host" ? 2 * statesBytes : 0),
  ];
  const isMemoryOfProcess = backend.kind === "cpu" || backend.adapter.software;
  return {
    device,
    process: rehearsal.processBytes + readBytes + Math.max(...hostBytes) +
      (isMemoryOfProcess ? device - rehearsal.deviceBytes : 0),
  };
}

/** Returns an upper bound for the bytes of the sums of one kind of windows, in the round with the largest sums. */
function countSumBytes(plan: BlockPlan, edge: number, hasTargets: boolean): number {
  const rounds = Array.from({ length: plan.lastBlock + 1 }, (_, block) => plan.allRounds(block)).flat();
  return Math.max(...rounds.map((round) =>
    round.reduce((sum, { group: [{ inFeatures, outFeatures }] }) => {
      const targets = hasTargets ? matrixBytes(Math.max(inFeatures, outFeatures), inFeatures, edge) : 0;
      return sum + upperBytes(inFeatures, edge) + targets;
    }, 0)
  ));
}

/** The bytes that a run needs on the disk. */
export interface DiskUse {
  /** The result: the sum of `files`. */
  readonly output: number;
  /** The bytes of each file, by its path in the output folder. The report files, which have about a kilobyte for each layer, are left out. */
  readonly files: Readonly<Record<string, number>>;
  /** The files of the unfinished run, which are removed at the end. */
  readonly unfinished: number;
}

/** Returns the disk space of a run. */
export async function diskUse(
  job: FolderJob,
  { statesBytes }: ForwardPlan,
  { lastBlock }: BlockPlan,
  fs: WorkFileSystem,
): Promise<DiskUse> {
  const { plan } = job.planOutput?.([]) ?? planOutput(job, fs);
  const written = await countPlannedBytes(plan, fs, job.reportFileNames);
  const output = written.values().reduce((sum, bytes) => sum + bytes, 0);
  // The hidden states before a block are kept until those before the next block are on the disk.
  return { output, files: Object.fromEntries(written), unfinished: lastBlock > 0 ? 2 * statesBytes : 0 };
}

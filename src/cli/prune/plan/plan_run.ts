/**
 * Plans a run of `pare prune`: its time, memory, disk space and traffic. The sizes come from the code that the run uses, and the rates from
 * a rehearsal with a few calibration windows. The plan writes no files.
 */

import type { Backend } from "../../../device/backend.ts";
import { BlockPlan, linearLayers } from "../../../prune/block_plan.ts";
import { planForward } from "../../../model/plan_forward.ts";
import { countRequestBytes } from "../../../client/shared_statistics.ts";
import { digestBytes } from "../../../base/files/chunks.ts";
import type { WorkFileSystem } from "../../../base/files/file_system.ts";
import { bytesText, countText, secondsText } from "../../../prune/report/format.ts";
import { phasesText, type RunSeconds, withTotal } from "../../../prune/report/run_seconds.ts";
import { BYTES_PER_ELEMENT } from "../../../tensor/dtype.ts";
import type { FolderJob } from "../../../prune/run/folder_destination.ts";
import { countWindows, type PruneServices } from "../../../prune/run/job.ts";
import type { RunFacts } from "../../../prune/run/run_report.ts";
import { isRoundedBy } from "../../../prune/run/solve_queries.ts";
import { partSizes } from "../../../prune/window_parts.ts";
import { evaluationSeconds } from "../../../prune/run/time_left.ts";
import type { Output } from "../../terminal/output.ts";
import type { PlannedExport } from "../../export/export_format.ts";
import { rehearse } from "./rehearse.ts";
import { type DiskUse, diskUse, type MemoryUse, memoryUse } from "./resources.ts";
import { tokenWarnings } from "../../../prune/run/warnings.ts";

/** The figures of a run. Times are in seconds and sizes in bytes. */
export interface RunPlan {
  readonly model: string;
  /** The number of layers to prune, and of their weights. */
  readonly layers: number;
  readonly weights: number;
  readonly blocks: number;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly samples: number;
  readonly seqlen: number;
  /** The backend and the adapter of the forward passes. */
  readonly device: string;
  readonly seconds: RunSeconds;
  readonly memory: MemoryUse;
  readonly disk: DiskUse & { readonly free: number };
  /** Lines about the result, such as the types of layers in the export that its format does not name. */
  readonly result: readonly string[];
  /** The bytes that are sent to hosts. */
  readonly sent: number;
  /** The work of the rehearsal. */
  readonly measured: { readonly layers: number; readonly windows: number; readonly seconds: number };
  readonly warnings: readonly string[];
}

/** The services of the plan, and what is known about the machine. */
export interface PlanServices extends PruneServices {
  readonly backend: Backend;
  readonly fs: WorkFileSystem;
  /** The free bytes on the disk of the output folder. */
  readonly freeBytes: number;
  /** The number of hosts to which layers are sent. */
  readonly hosts: number;
  /** The lines about the result, if it has another form than the model. */
  readonly exported?: Pick<PlannedExport, "lines">;
}

/** The number of bytes of which the time of a copy is measured. */
const COPY_PROBE_BYTES = 32 << 20;

/** A copy is read and hashed when it is written, and again when it is checked. */
const COPY_PASSES = 2;

/** Rehearses the run and returns its plan. @throws the errors of the run */
export async function planRun(
  job: FolderJob,
  { name, parameters, seqlen }: Pick<RunFacts, "name" | "parameters" | "seqlen">,
  services: PlanServices,
): Promise<RunPlan> {
  const { model: { spec }, evaluatedWindows = [], allocation } = job, { backend, fs, freeBytes } = services;
  const samples = countWindows(job);
  const started = performance.now();
  const layers = linearLayers(spec).filter(({ name }) => job.layers.has(name));
  const isRounded = isRoundedBy(job.queryOf);
  const plan = new BlockPlan(spec, { ...job, isRounded, hasTargets: job.target === "dense" });
  const forward = planForward(backend, spec, samples, seqlen, {
    location: job.activations,
    parts: partSizes(job),
  });
  const rehearsal = await rehearse(job, services), { rates } = rehearsal;
  const batches = forward.batches.length, passes = plan.passes(0);
  const memory = memoryUse(job, layers, plan, forward, rehearsal, services);
  const disk = await diskUse(job, forward, plan, fs);
  const seconds = withTotal({
    load: job.loadSeconds ?? 0,
    allocation: allocation
      ? rates.secondsOf({ passes: Array(plan.lastBlock).fill("run"), batches, layers: [] })!.calibration
      : 0,
    ...rates.secondsOf({ passes, batches, layers })!, // a rehearsal solves at least one layer
    write: disk.output * await copySecondsPerByte(job),
    evaluation: evaluationSeconds(spec, evaluatedWindows, rates, samples / batches),
  });
  return {
    model: name,
    layers: layers.length,
    weights: layers.reduce((sum, { rows, cols }) => sum + rows * cols, 0),
    blocks: new Set(layers.map(({ block }) => block)).size,
    parameters,
    samples,
    seqlen,
    device: `${backend.kind} (${backend.adapter.name})`,
    seconds,
    memory,
    disk: { ...disk, free: freeBytes },
    result: services.exported?.lines ?? [],
    sent: services.hosts === 0 ? 0 : countSentBytes(job, plan, services.hosts),
    measured: {
      layers: rehearsal.layers,
      windows: rehearsal.windows,
      seconds: (performance.now() - started) / 1000,
    },
    warnings: [
      ...tokenWarnings(job, layers),
      ...diskWarnings(disk, freeBytes),
      ...backend.memoryBytes !== undefined && memory.device > backend.memoryBytes
        ? [
          `the run needs ${bytesText(memory.device)} of the device, which has ${
            bytesText(backend.memoryBytes)
          }`,
        ]
        : [],
      ...allocation?.name === "error"
        ? ["--allocate error solves every layer five times more, which the time and the bytes leave out"]
        : [],
    ],
  };
}

/** Warns if the disk of the output folder has too little space. */
export function diskWarnings(
  { output, unfinished }: Pick<DiskUse, "output" | "unfinished">,
  freeBytes: number,
): string[] {
  const needed = output + unfinished;
  if (needed <= freeBytes) return [];
  return [`the run needs ${bytesText(needed)} on the disk, which has ${bytesText(freeBytes)} free`];
}

/** Counts the bytes that are sent to hosts at most. */
function countSentBytes(
  { checkpoint, validationWindows = [], target }: FolderJob,
  plan: BlockPlan,
  hosts: number,
): number {
  const sums = validationWindows.length > 0 ? 2 : 1, targets = target === "dense" ? sums : 0;
  let bytes = 0;
  for (let block = 0; block <= plan.lastBlock; block++) {
    for (const { group: [{ inFeatures }], layers } of plan.rounds(block).flat()) {
      const sizes = (added: number) =>
        layers.map(({ name, linear }) =>
          (BYTES_PER_ELEMENT[checkpoint.info(name).dtype] + added) * linear.inFeatures * linear.outFeatures
        );
      const countSent = (added: number) => countRequestBytes(sizes(added), inFeatures, hosts, sums);
      bytes += countSent(BYTES_PER_ELEMENT.F32 * targets);
      if (plan.isRoundedLast(block)) bytes += countSent(BYTES_PER_ELEMENT.BOOL); // with a mask
    }
  }
  return bytes;
}

/** Measures how long a copy of the checkpoint takes per byte, by reading and hashing the beginning of its largest tensor. */
async function copySecondsPerByte({ checkpoint }: FolderJob): Promise<number> {
  const tensors = checkpoint.shards.flatMap(({ header }) => header.tensors);
  const largest = tensors.reduce((a, b) => b.end - b.begin > a.end - a.begin ? b : a);
  const length = Math.min(largest.end - largest.begin, COPY_PROBE_BYTES), started = performance.now();
  digestBytes(await checkpoint.read(largest.name, 0, length));
  return COPY_PASSES * (performance.now() - started) / 1000 / length;
}

/** Prints the figures as lines, or with `--json` as one object. The warnings are also printed as remarks. */
export function printPlan(plan: RunPlan, output: Output): void {
  const { layers, weights, blocks, parameters, samples, seqlen, seconds, memory, disk, sent, measured } =
    plan;
  for (const warning of plan.warnings) output.remark(`warning: ${warning}`);
  const chosen = Object.entries(parameters).map(([name, value]) => `${name} ${value}`).join(", ");
  output.result(plan, [
    `prunes  ${layers} layers in ${blocks} blocks of ${plan.model} with ${
      countText(weights)
    } weights: ${chosen}`,
    `tokens  ${countText(samples * seqlen)}, in ${samples} windows of ${seqlen}`,
    `device  ${plan.device}`,
    `time    about ${secondsText(seconds.total)}: ${phasesText(seconds)}`,
    `memory  ${bytesText(memory.process)} of this process, ${bytesText(memory.device)} of the device`,
    `disk    ${bytesText(disk.output)} for the result, ${
      bytesText(disk.unfinished)
    } more until it is complete, ` +
    `${bytesText(disk.free)} free`,
    `files   ${
      Object.entries(disk.files).map(([name, bytes]) => `${name} ${bytesText(bytes)}`).join(", ")
    }, and the report`,
    ...plan.result.map((line) => `result  ${line}`),
    `sends   ${sent === 0 ? "nothing" : `at most ${bytesText(sent)} to hosts`}`,
    `This plan was measured in ${secondsText(measured.seconds)} with ${measured.windows} windows and ` +
    `${measured.layers} layers.`,
  ]);
}

/** The last step of `pare prune` if the output is not dense. The step packs the pruned dense copy into the output folder. */

import { type Checkpoint, openCheckpoint } from "../../checkpoint/checkpoint.ts";
import { stemOf } from "../../checkpoint/quantized/layout.ts";
import {
  type PackResult,
  type QuantizedWeightSource,
  writeQuantized,
} from "../../checkpoint/quantized/write_quantized.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import type { ModelSpec } from "../../models/families/family.ts";
import { denseModules, moduleName } from "../../models/module_names.ts";
import { linearLayers } from "../../prune/block_plan.ts";
import type { PruneRun } from "../../prune/run/prune_run.ts";
import type { RunReport } from "../../report/run_report.ts";
import { withTotal } from "../../report/run_seconds.ts";
import type { GridOptions } from "../../quantization/quantization.ts";
import { readRunReport, runReportFiles } from "../files/run_report_files.ts";
import type { PruneOptions } from "./prune_options.ts";
import type { PruneJob } from "./run_prune.ts";

/** Options of {@link packStep}. */
export interface PackStepOptions extends Pick<PruneOptions, "format" | "out"> {
  readonly spec: ModelSpec;
  /** Returns the quantisation grid of a layer, or undefined if the layer stays dense. */
  readonly gridOf: (name: string) => GridOptions | undefined;
  readonly fs: WorkFileSystem;
  readonly signal: AbortSignal;
}

/** Returns the step, or undefined if the output is dense. */
export function packStep(options: PackStepOptions): PruneJob["pack"] {
  const { format, out, fs, signal } = options;
  if (format === "dense") return undefined;
  return async (folder, run) => {
    const dense = await openCheckpoint(folder, fs), started = performance.now();
    try {
      const report = await readRunReport(dense);
      const shared = {
        overwrite: true, // the start of the run has checked that the output may be replaced
        signal,
        rewriteFiles: ({ bytes }: PackResult) => {
          const packSeconds = (performance.now() - started) / 1000;
          return runReportFiles(report && addWriteSeconds(report, packSeconds), format, bytes.written);
        },
      };
      await writeQuantizedRun(dense, out, run, { ...options, ...shared });
    } finally {
      await dense.close();
    }
  };
}

function addWriteSeconds(report: RunReport, added: number): RunReport {
  const { total: _, ...phases } = report.seconds;
  return { ...report, seconds: withTotal({ ...phases, write: phases.write + added }) };
}

/** Writes the quantised checkpoint from the dense copy and from the packed tensors that the run has stored. */
async function writeQuantizedRun(
  dense: Checkpoint,
  out: string,
  run: PruneRun,
  options: PackStepOptions & Omit<Parameters<typeof writeQuantized>[3], "weights" | "ignore">,
): Promise<void> {
  const { spec, gridOf, fs } = options;
  const weights = new Map<string, QuantizedWeightSource>();
  const digests = new Map(run.layers.map(({ name, quantized }) => [name, quantized]));
  for (const { name } of linearLayers(spec)) {
    const digest = digests.get(name), grid = digest === undefined ? undefined : gridOf(name);
    if (digest === undefined || !grid) continue;
    weights.set(name, {
      grid,
      module: moduleName(stemOf(name)),
      read: () => run.quantized.read(name, digest),
    });
  }
  const ignore = denseModules(spec, (name) => weights.has(name));
  await writeQuantized(dense, out, fs, { ...options, weights, ignore });
}

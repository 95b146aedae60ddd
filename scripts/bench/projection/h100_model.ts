/**
 * A model on paper of the time that an H100 needs for OPT-175B, from the counts of `gpu_counts/`. Nothing in it
 * was measured on hardware. Every rate is an assumption with a name, so that the first measurement
 * (`deno task first-light`) can correct it.
 */

import type { LayerCounts } from "../gpu_counts/count_layer.ts";
import { sum } from "../measure/statistics.ts";
import { MODELS } from "./model_shapes.ts";
import { modelWork } from "./projection.ts";

/** An assumed rate or time, and why it was chosen. */
export interface Assumption {
  readonly value: number;
  readonly unit: string;
  readonly reason: string;
}

/** The assumptions. Not one of them was measured. */
export const ASSUMPTIONS = {
  productRate: {
    value: 23e12,
    unit: "flop/s",
    reason: "a third of the 67 TFLOP/s in f32 without tensor cores of NVIDIA's data sheet for the H100 SXM",
  },
  memoryRate: {
    value: 2.3e12,
    unit: "byte/s",
    reason: "two thirds of the 3.35 TB/s of the data sheet",
  },
  dispatchGap: {
    value: 5e-6,
    unit: "s",
    reason:
      "a barrier and the start of a compute dispatch through WebGPU, each dispatch waiting for the last",
  },
  columnStep: {
    value: 1e-6,
    unit: "s",
    reason: "about 1,700 cycles to factor and invert a column of a diagonal block in workgroup memory",
  },
  wait: { value: 1e-3, unit: "s", reason: "a submission, its end and the wake-up of the thread" },
  upload: {
    value: 6e9,
    unit: "byte/s",
    reason: "PCIe 5.0 with a copy by the CPU before it, which bounds it",
  },
  readBack: { value: 3e9, unit: "byte/s", reason: "PCIe 5.0, and then one copy by the CPU into new memory" },
} as const satisfies Record<string, Assumption>;

/** The causes of the time of a layer, in seconds. */
export interface LayerSeconds {
  readonly products: number;
  readonly memory: number;
  readonly gaps: number;
  readonly columns: number;
  readonly waits: number;
  readonly transfers: number;
}

/**
 * The seconds of factoring and solving one layer. No two causes overlap. The memory traffic of products counts
 * as part of the products, so only that of the other kernels is in `memory`.
 * @param withFactor whether the layer is the first of those that share an input
 */
export function layerSeconds(counts: LayerCounts, withFactor: boolean): LayerSeconds {
  const phases = withFactor ? [counts.factor, counts.solve] : [counts.solve];
  const total = (of: (phase: LayerCounts["factor"]) => number) => sum(phases.map(of));
  const { productRate, memoryRate, dispatchGap, columnStep, wait, upload, readBack } = ASSUMPTIONS;
  const { rows, cols } = counts, weights = rows * cols;
  const uploaded = 2 * weights + (withFactor ? 2 * cols * (cols + 1) : 0);
  return {
    products: total((phase) => phase.productTeraflops) * 1e12 / productRate.value,
    memory: total((phase) => phase.memoryBytes - phase.productBytes) / memoryRate.value,
    gaps: total((phase) => phase.dispatches) * dispatchGap.value,
    columns: total((phase) => phase.serialColumns) * columnStep.value,
    waits: total((phase) => phase.waits) * wait.value,
    transfers: uploaded / upload.value + (2 * weights + weights / 8) / readBack.value,
  };
}

/** The hours of OPT-175B by phase, if no two phases overlap. */
export interface ModelHours {
  readonly forward: number;
  readonly statistics: number;
  readonly layers: number;
}

/** @param counted the counts of all shapes of the model's layers */
export function modelHours(counted: readonly LayerCounts[]): ModelHours {
  const model = MODELS["opt-175b"], work = modelWork(model), rate = ASSUMPTIONS.productRate.value;
  const perBlock = sum(model.inputs.flatMap(({ cols, rows }) =>
    rows.map((height, i) => {
      const counts = counted.find((layer) => layer.rows === height && layer.cols === cols);
      if (!counts) throw new Error(`no counts of a layer of ${height}×${cols}`);
      return sum(Object.values(layerSeconds(counts, i === 0)));
    })
  ));
  return {
    forward: work.forward / rate / 3600,
    statistics: work.statistics / rate / 3600,
    layers: model.blocks * perBlock / 3600,
  };
}

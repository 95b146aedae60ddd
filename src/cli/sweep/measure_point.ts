/** Measures one point of a sweep: prunes the dense model in memory, and computes its perplexity. */

import type { Backend } from "../../device/backend.ts";
import type { Perplexity } from "../../model/evaluation/text_measurement.ts";
import type { Model } from "../../model/model.ts";
import type { AllocationName } from "../../prune/allocation/allocation.ts";
import { DevicePruner } from "../../prune/device_pruner.ts";
import type { CalibrationWindows } from "../../prune/read_calibration.ts";
import { pruneInMemory } from "../../prune/run/in_memory.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { secondsText } from "../../prune/report/format.ts";
import type { Output } from "../terminal/output.ts";
import { layerQueryOf, type SweepPoint } from "./points.ts";
import { settingName, type SweepResult } from "./results.ts";

/** The parts that all points share, and the position of one point among them. */
export interface SweepSetting {
  readonly model: Model;
  readonly backend: Backend;
  readonly calibration: CalibrationWindows;
  readonly output: Output;
  readonly signal: AbortSignal;
  /** The parameters that say how weights are rounded. */
  readonly rounding: LayerQuery;
  readonly allocation: AllocationName;
  /** The index of the point, and the number of points. */
  readonly position: readonly [index: number, count: number];
  /** Measures the perplexity of a pruned model. */
  measure(model: Model): Promise<Perplexity>;
}

/** Prunes the dense model with the parameters of `point`, and measures and reports its perplexity. */
export async function measurePoint(
  point: SweepPoint,
  { model, backend, calibration, output, signal, rounding, allocation, measure, position: [index, count] }:
    SweepSetting,
): Promise<SweepResult> {
  const started = performance.now();
  const name = `${point.method} ${settingName(point)}`;
  const bar = output.progress("sweeping");
  bar.step(index, count, name);
  const onLayerDone = (done: number, total: number) => bar.note(`${name} ${done}/${total}`);
  try {
    const pruner = new DevicePruner(backend);
    const options = { pruner, backend, ...calibration, allocation, signal, onLayerDone };
    const pruned = await pruneInMemory(model, layerQueryOf(point, rounding), options);
    const { perplexity } = await measure(pruned);
    const seconds = (performance.now() - started) / 1000;
    bar.stop();
    output.remark(`${name} ${perplexity.toFixed(3)}, ${secondsText(seconds)}`);
    return { ...point, perplexity, seconds };
  } finally {
    bar.stop();
  }
}

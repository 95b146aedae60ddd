/** Checks, before any work, that `--target` fits the other options and the model. */

import type { QueryOf } from "../../client/model_pruner.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import { UsageError } from "../errors.ts";
import { presetHint } from "./named_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/**
 * @param hasServers whether servers solve the layers
 * @param layers the layers that are pruned
 * @throws {UsageError} naming the option or the layer, and the rule
 */
export function checkTarget(
  { target, preset, trueSequential, plan, activations }: PruneOptions,
  hasServers: boolean,
  layers: readonly SizedLayer[],
  queryOf: QueryOf,
): void {
  const layerWith = (has: (layer: SizedLayer) => boolean) => layers.find(has)?.name;
  if (target === "none") {
    const stepped = layerWith(({ name }) => queryOf(name).target_step !== undefined);
    if (stepped === undefined) return;
    throw new UsageError(
      `option --target-step ${
        queryOf(stepped).target_step
      }: needs --target dense, which gives ${stepped} a target`,
    );
  }
  const refuse = (reason: string) => {
    throw new UsageError(`option --target ${target}: ${reason}${presetHint(preset, "target")}`);
  };
  if (hasServers) refuse("layers with targets are solved in this process only; leave out --server");
  if (trueSequential) refuse("does not work with --true-sequential");
  if (plan) refuse("its time and memory cannot be planned yet; leave out --plan");
  if (activations === "disk") {
    refuse(
      "keeps the hidden states of the dense model in memory, so it does not work with --activations disk",
    );
  }
  const expert = layerWith(({ linear }) => linear.expertRole !== undefined);
  if (expert) refuse(`does not work with mixtures of experts, and ${expert} is a layer of an expert`);
}

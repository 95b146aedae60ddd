/** Checks, before any work, that `--target` and `--target-step` fit each other and the other options. */

import type { QueryOf } from "../../client/model_pruner.ts";
import type { NamedLayer } from "../../prune/choose_layers.ts";
import { UsageError } from "../errors.ts";
import { presetHint } from "./named_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/**
 * @param layers the layers that are pruned
 * @throws {UsageError} naming the option or the layer, and the rule
 */
export function checkTarget(
  { target, preset, activations }: Pick<PruneOptions, "target" | "preset" | "activations">,
  layers: readonly NamedLayer[],
  queryOf: QueryOf,
): void {
  if (target === "none") {
    const stepped = layers.find(({ name }) => queryOf(name).target_step !== undefined)?.name;
    if (stepped === undefined) return;
    throw new UsageError(
      `option --target-step ${
        queryOf(stepped).target_step
      }: needs --target dense, which gives ${stepped} a target`,
    );
  }
  if (activations !== "disk") return;
  const reason =
    "keeps the hidden states of the dense model in memory, so it does not work with --activations disk";
  throw new UsageError(`option --target ${target}: ${reason}${presetHint(preset, "target")}`);
}

/** Checks, before any work, that `--reconstruct` fits the other options. */

import type { QueryOf } from "../../client/model_pruner.ts";
import type { NamedLayer } from "../../prune/choose_layers.ts";
import { UsageError } from "../errors.ts";
import { presetHint } from "./named_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/**
 * @param layers the layers of the run
 * @throws {UsageError} naming the option, the rule and the value
 */
export function checkReconstruct(
  { reconstruct, activations, target, preset }: Pick<
    PruneOptions,
    "reconstruct" | "activations" | "target" | "preset"
  >,
  layers: readonly NamedLayer[],
  queryOf: QueryOf,
): void {
  if (reconstruct === 0) return;
  const refuse = (rule: string) => {
    throw new UsageError(`option --reconstruct ${reconstruct}: ${rule}${presetHint(preset, "reconstruct")}`);
  };
  if (activations === "disk") {
    refuse("keeps the outputs of the dense blocks in memory, so it does not work with --activations disk");
  }
  if (target === "none" && layers.every(({ name }) => queryOf(name).sparsity === 0)) {
    refuse("trains blocks before they are rounded, so with --sparsity 0 it needs --target dense");
  }
}

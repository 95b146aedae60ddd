/** Checks, before any work, that `--reconstruct` fits the other options. */

import type { QueryOf } from "../../client/model_pruner.ts";
import type { SizedLayer } from "../../prune/block_plan.ts";
import { UsageError } from "../errors.ts";
import { presetHint } from "./named_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/**
 * @param layers the layers that are pruned
 * @throws {UsageError} naming the option, the rule and the value
 */
export function checkReconstruct(
  { reconstruct, activations, preset }: Pick<PruneOptions, "reconstruct" | "activations" | "preset">,
  layers: readonly SizedLayer[],
  queryOf: QueryOf,
): void {
  if (reconstruct === 0) return;
  const refuse = (reason: string) => {
    throw new UsageError(
      `option --reconstruct ${reconstruct}: ${reason}${presetHint(preset, "reconstruct")}`,
    );
  };
  const rounded = layers.find(({ name }) => queryOf(name).bits !== undefined)?.name;
  if (rounded) {
    refuse(`trains weights that are not rounded, but ${rounded} is rounded to ${queryOf(rounded).bits} bits`);
  }
  if (activations === "disk") {
    refuse("keeps the outputs of the dense blocks in memory, so it does not work with --activations disk");
  }
}

/** Checks, before any work, that `--reconstruct` fits the other options. */

import { UsageError } from "../errors.ts";
import { presetHint } from "./named_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/** @throws {UsageError} naming the option, the rule and the value */
export function checkReconstruct(
  { reconstruct, activations, preset }: Pick<PruneOptions, "reconstruct" | "activations" | "preset">,
): void {
  if (reconstruct === 0 || activations !== "disk") return;
  throw new UsageError(
    `option --reconstruct ${reconstruct}: keeps the outputs of the dense blocks in memory, so it does not work with ` +
      `--activations disk${presetHint(preset, "reconstruct")}`,
  );
}

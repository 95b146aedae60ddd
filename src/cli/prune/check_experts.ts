/** Checks, before any work, that `--experts-at-once` and `--all-experts` fit the model and the other options. */

import { blocksOf, type ModelSpec } from "../../model/families/family.ts";
import { UsageError } from "../errors.ts";
import { presetHint } from "./named_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/** @throws {UsageError} naming the option, the rule and the value */
export function checkExperts(
  { expertsAtOnce, allExperts, target, reconstruct, preset }: Pick<
    PruneOptions,
    "expertsAtOnce" | "allExperts" | "target" | "reconstruct" | "preset"
  >,
  spec: ModelSpec,
): void {
  const option = expertsAtOnce !== undefined
    ? `--experts-at-once ${expertsAtOnce}`
    : allExperts
    ? "--all-experts"
    : undefined;
  if (option === undefined) return;
  const refuse = (rule: string) => {
    throw new UsageError(`option ${option}: ${rule}`);
  };
  if (blocksOf(spec).every(({ traits }) => traits?.mixture === undefined)) {
    refuse("needs a mixture of experts, and the model has no experts");
  }
  if (target === "dense") {
    const reason = expertsAtOnce === undefined
      ? "would keep a copy of the inputs of all tokens for every expert"
      : "solves all layers of a block together";
    refuse(`does not work with --target dense, which ${reason}${presetHint(preset, "target")}`);
  }
  if (expertsAtOnce !== undefined && reconstruct > 0) {
    const reason = "trains all layers of a block together";
    refuse(`does not work with --reconstruct, which ${reason}${presetHint(preset, "reconstruct")}`);
  }
}

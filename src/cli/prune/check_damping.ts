/** Checks, before any work, that a run can choose the dampings that its parameters leave open. */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { UsageError } from "../errors.ts";
import { presetHint, type PresetName } from "./named_options.ts";

/**
 * Checks that some windows are held out if a layer has the damping `auto`.
 * @param heldOut the number of held-out windows
 * @throws {UsageError} naming the first such layer
 */
export function checkDamping(
  layers: readonly { readonly name: string }[],
  queryOf: (name: string) => LayerQuery,
  heldOut: number,
  preset: PresetName,
): void {
  const open = layers.find(({ name }) => queryOf(name).damping === "auto");
  if (!open || heldOut > 0) return;
  throw new UsageError(
    `option --damping auto: ${open.name}: held-out windows choose the damping, and this run holds out none: ` +
      `raise --validation or --samples, or set a number${presetHint(preset, "damping")}`,
  );
}

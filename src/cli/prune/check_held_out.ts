/** Checks, before any work, that a run can make the choices that its parameters leave to held-out windows. */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { optionName } from "../options/layer_options.ts";
import { UsageError } from "../errors.ts";

/** The parameters that held-out windows choose if they are `auto`. */
const CHOSEN = ["damping", "target_step"] as const satisfies (keyof LayerQuery)[];

/**
 * Checks that some windows are held out if a layer has a parameter that they choose.
 * @param heldOut the number of held-out windows
 * @throws {UsageError} naming the option and the first such layer
 */
export function checkHeldOut(
  layers: readonly { readonly name: string }[],
  queryOf: (name: string) => LayerQuery,
  heldOut: number,
): void {
  if (heldOut > 0) return;
  for (const parameter of CHOSEN) {
    const open = layers.find(({ name }) => queryOf(name)[parameter] === "auto");
    if (!open) continue;
    throw new UsageError(
      `option --${
        optionName(parameter)
      } auto: ${open.name}: held-out windows choose it, and this run holds out none: ` +
        "raise --validation or --samples, or set a number",
    );
  }
}

/** What a run amounts to, added up from its layers. */

import type { LayerRun } from "./run_report.ts";

/** The pruned layers together. */
export interface Totals {
  readonly entries: number;
  readonly zeros: number;
}

/** Zeros and entries of `layers`. */
export function totals(layers: readonly LayerRun[]): Totals {
  return {
    entries: layers.reduce((sum, { rows, cols }) => sum + rows * cols, 0),
    zeros: layers.reduce((sum, { zeros }) => sum + zeros, 0),
  };
}

/** What a layer is within its block: `fc1`, `self_attn.q_proj`. */
export function layerKind({ name, block }: LayerRun): string {
  const afterBlock = name.split(`.${block}.`).slice(1).join(`.${block}.`) || name;
  return afterBlock.replace(/\.weight$/, "");
}

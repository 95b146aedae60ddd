/** The targets to which the benches of quality compress models. */

import type { LayerQuery } from "../../../src/protocol/layer_query.ts";

interface Target {
  readonly title: string;
  readonly query: LayerQuery;
}

const rounding = (bits: number, more: LayerQuery = {}): LayerQuery => ({ sparsity: 0, bits, ...more });

/** The targets by their names in cells. Without groups, each output row has one grid. */
export const TARGETS = {
  "4bit-g32": { title: "4 bit, groups of 32", query: rounding(4, { group_size: 32 }) },
  "3bit-g32": { title: "3 bit, groups of 32", query: rounding(3, { group_size: 32 }) },
  "2bit-g32": { title: "2 bit, groups of 32", query: rounding(2, { group_size: 32 }) },
  "4bit": { title: "4 bit", query: rounding(4) },
  "3bit": { title: "3 bit", query: rounding(3) },
  "2bit": { title: "2 bit", query: rounding(2) },
  "50": { title: "50 %", query: { sparsity: 0.5 } },
  "60": { title: "60 %", query: { sparsity: 0.6 } },
  "70": { title: "70 %", query: { sparsity: 0.7 } },
  "2:4": { title: "2:4", query: { pattern: "2:4" } },
  "4:8": { title: "4:8", query: { pattern: "4:8" } },
  "50+4bit": { title: "50 % + 4 bit", query: { sparsity: 0.5, bits: 4 } },
  "2:4+4bit": { title: "2:4 + 4 bit", query: { pattern: "2:4", bits: 4 } },
} as const satisfies Readonly<Record<string, Target>>;

export type TargetName = keyof typeof TARGETS;

/** Returns the options of `pare prune` that stand for the parameters of a layer. */
export function pruneOptions(query: LayerQuery): string[] {
  return Object.entries(query).flatMap(([name, value]) => [`--${name.replaceAll("_", "-")}`, String(value)]);
}

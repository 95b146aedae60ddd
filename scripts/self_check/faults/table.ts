/** The table of the planted faults, whose figures are in `scripts/bench/results/self_check_faults.json`. */

import { markdownTable } from "../../bench/report/markdown_table.ts";

/** The figures of `deno task self-check:faults`, by place: `cpu`, or the tiling of the shaders. */
export interface PlantedFaults {
  readonly places: Readonly<
    Record<string, {
      readonly refused: number;
      readonly accepted: number;
      readonly ineffective: number;
      readonly uncompiled: number;
      readonly seconds: number;
    }>
  >;
}

const TITLES: Readonly<Record<string, string>> = {
  cpu: "`cpu`, falsified results",
  software: "WebGPU, shaders for software adapters",
  discrete: "WebGPU, shaders for GPUs",
};

/** Renders one row per place. */
export function plantedFaultsTable({ places }: PlantedFaults): string {
  return markdownTable<[name: string, figures: PlantedFaults["places"][string]]>([
    ["where", ([name]) => TITLES[name] ?? name],
    ["faults tried", ([, { refused, accepted }]) => String(refused + accepted)],
    ["refused", ([, { refused }]) => String(refused)],
    ["accepted", ([, { accepted }]) => String(accepted)],
    ["changes without effect", ([, { ineffective }]) => String(ineffective)],
  ], Object.entries(places));
}

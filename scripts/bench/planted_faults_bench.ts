/** Plants faults in every kernel, and counts how many of them the self-check of a device refuses. */

import { requestAdapter } from "../../src/device/webgpu/device.ts";
import type { Tiling } from "../../src/device/webgpu/tuning.ts";
import { tallyResultFaults, tallyShaderFaults } from "../self_check/faults/tally.ts";
import type { Bench } from "./bench.ts";
import { markdownTable } from "./report/markdown_table.ts";

interface PlaceFigures {
  readonly refused: number;
  readonly accepted: number;
  readonly ineffective: number;
  readonly uncompiled: number;
  readonly seconds: number;
}

interface PlantedFaultsResults {
  /** The figures by place: `cpu`, or the tiling of the shaders. */
  readonly places: Readonly<Record<string, PlaceFigures>>;
}

const TITLES: Readonly<Record<string, string>> = {
  cpu: "`cpu`, falsified results",
  software: "WebGPU, shaders for software adapters",
  discrete: "WebGPU, shaders for GPUs",
};

export const bench: Bench<{ readonly places: string }, PlantedFaultsResults> = {
  description: "faults planted in every kernel, and how many of them the self-check of a device refuses",
  options: (command) =>
    command.option("--places <list>", "comma-separated places", Object.keys(TITLES).join(",")),
  async measure({ places: chosen }, { earlier, save }) {
    const places: Record<string, PlaceFigures> = { ...earlier?.places };
    for (const name of chosen.split(",")) {
      const start = performance.now();
      const { counts, accepted } =
        await (name === "cpu" ? tallyResultFaults() : tallyShaderFaults(name as Tiling));
      places[name] = { ...counts, seconds: Math.round((performance.now() - start) / 1000) };
      for (const description of accepted) console.error(`${name}, accepted: ${description}`);
    }
    const adapter = (await requestAdapter()).info.description;
    await save({ backend: "cpu and webgpu", adapter }, { places });
    return { places };
  },
  passes: ({ places }) => Object.values(places).every(({ accepted }) => accepted === 0),
  tables: {
    planted_faults: ({ places }) =>
      markdownTable<[name: string, figures: PlaceFigures]>([
        ["where", ([name]) => TITLES[name] ?? name],
        ["faults tried", ([, { refused, accepted }]) => String(refused + accepted)],
        ["refused", ([, { refused }]) => String(refused)],
        ["accepted", ([, { accepted }]) => String(accepted)],
        ["changes without effect", ([, { ineffective }]) => String(ineffective)],
      ], Object.entries(places)),
  },
};

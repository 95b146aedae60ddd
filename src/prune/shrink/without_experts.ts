/** Presents a mixture of experts without some experts of each block. The others are renamed, and the routers lose rows. */

import { readTensor, withReplacements } from "../../model/checkpoint/tensor_source.ts";
import { readModelSpec } from "../../model/families/families.ts";
import type { Model } from "../../model/model.ts";
import { takeRows } from "../../tensor/columns.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { weightName } from "../block_plan.ts";
import { type RenamedModel, renamedSource } from "./renamed_model.ts";
import { readUnits } from "./units.ts";

/**
 * Returns the model in which the experts `kept[b][0]`, `kept[b][1]` and so on of block b are the experts 0, 1 and so on.
 * @param kept the experts that remain, ascending, and equally many in each block
 */
export async function withoutExperts(
  dense: RenamedModel["config"],
  { spec, weights }: Model,
  kept: readonly (readonly number[])[],
): Promise<RenamedModel> {
  const { groups, denseLayers: routers, prefix } = spec.block(0);
  const units = readUnits("experts", dense, spec);
  const roles = new Set(groups.flat().flatMap(({ expertRole }) => expertRole ?? []));
  const newNames = new Map<string, string | undefined>(), oldNames = new Map<string, string>();
  const replaced = new Map<string, HostTensor>();
  for (const [block, experts] of kept.entries()) {
    for (const role of roles) {
      const name = (expert: number) =>
        prefix(block) + role.replace(".experts.", `.experts.${expert}.`) + ".weight";
      for (let expert = 0; expert < units.count; expert++) newNames.set(name(expert), undefined);
      for (const [place, expert] of experts.entries()) {
        newNames.set(name(expert), name(place));
        oldNames.set(name(place), name(expert));
      }
    }
    for (const router of routers!) {
      const name = weightName(spec, block, router);
      replaced.set(name, takeRows(await readTensor(weights, name), experts));
    }
  }
  const oldNameOf = (name: string) => newNames.has(name) ? oldNames.get(name) : name;
  const source = withReplacements(renamedSource(weights, oldNameOf), replaced);
  const config = { ...dense, ...units.settings(kept[0].length) };
  return {
    model: { spec: readModelSpec(config, (name) => source.has(name)), weights: source },
    config,
    nameOf: (name) => newNames.has(name) ? newNames.get(name) : name,
  };
}

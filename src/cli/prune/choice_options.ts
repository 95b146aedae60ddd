/**
 * Declares the options of `pare prune` that choose layers by name and by block, the option for a profile (a file
 * with other parameters for some layers), and the option that spreads the zeros over the layers. Applies these options to the layers of a model.
 */

import type { Command } from "commander";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { readText } from "../../files/whole_file.ts";
import type { ModelSpec } from "../../models/families/family.ts";
import type { AllocationName, AllocationRequest } from "../../prune/allocation/allocation.ts";
import { linearLayers } from "../../prune/block_plan.ts";
import { type Choice, chooseLayers, mergeParameters } from "../../prune/choose_layers.ts";
import { parseProfile } from "../../prune/profile.ts";
import { layerQuerySchema } from "../../protocol/parameters.ts";
import { UsageError } from "../errors.ts";
import { allocateOption, allocationRequest, checkAllocation } from "../options/allocate_option.ts";
import { collectPatterns, integer } from "../options/common_options.ts";

/** The options as commander parses them. */
export interface ChoiceFlags {
  readonly layers?: readonly string[];
  readonly skip?: readonly string[];
  readonly minLayer?: number;
  readonly maxLayer?: number;
  readonly profile?: string;
  readonly allocate: AllocationName;
}

/** The layers to prune and to skip, and the parameters of each layer. */
export interface LayerChoice extends Choice {
  /** Returns the parameters of the layer `name`. */
  queryOf(name: string): LayerQuery;
  /** The layers over which an allocation spreads the zeros. Undefined if every layer has the sparsity in its parameters. */
  readonly allocation?: AllocationRequest;
}

/** Declares the options on `command`. */
export function addChoiceOptions(command: Command): Command {
  return command
    .option(
      "--layers <patterns>",
      "prune only these layers: comma-separated names or ends of names (fc2), globs (*.3.fc?) or " +
        "/regular expressions/; may be repeated",
      collectPatterns,
    )
    .option("--skip <patterns>", "do not prune these layers; same forms as --layers", collectPatterns)
    .option(
      "--min-layer <block>",
      "prune only this transformer block and later ones; blocks are counted from 0",
      integer(0),
    )
    .option("--max-layer <block>", "prune only transformer blocks before this one", integer(0))
    .option(
      "--profile <file>",
      "JSON file with other parameters for some layers; later rules override earlier ones: " +
        '[{ "match": "fc2", "sparsity": 0.3 }, { "match": "*.0.*", "skip": true }]',
    )
    .addOption(allocateOption());
}

/**
 * Applies the options to the layers of a model. `query` has the parameters of the run.
 * @throws {UsageError} if a pattern or rule matches no layer, the profile is malformed, or parameters contradict each other
 */
export async function readChoice(
  spec: ModelSpec,
  options: ChoiceFlags,
  query: LayerQuery,
  fs: WorkFileSystem,
): Promise<LayerChoice> {
  const { layers, skip, minLayer: minBlock, maxLayer: maxBlock, allocate } = options;
  checkAllocation(allocate, query.pattern);
  try {
    const profile = options.profile === undefined ? [] : parseProfile(await readText(fs, options.profile));
    const choice = chooseLayers(linearLayers(spec), { layers, skip, minBlock, maxBlock, profile });
    const queries = new Map(
      [...choice.chosen].map(([name, parameters]) => [name, mergeQuery(name, query, parameters)]),
    );
    const allocation = allocationRequest(allocate, linearLayers(spec), choice, query);
    return { ...choice, queryOf: (name) => queries.get(name) ?? query, allocation };
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

/**
 * Returns the parameters of one layer. The parameters of the profile override those of the run, and the result is checked as a
 * whole.
 * @throws {RangeError} naming the layer, the parameter and the rule
 */
function mergeQuery(
  name: string,
  query: LayerQuery,
  parameters: Readonly<Record<string, unknown>>,
): LayerQuery {
  if (Object.keys(parameters).length === 0) return query;
  const merged = mergeParameters({ ...query }, parameters);
  const parsed = layerQuerySchema.safeParse(merged);
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
    throw new RangeError(`profile for ${name}: ${faults.join("; ")}`);
  }
  const names = Object.keys(merged) as (keyof LayerQuery)[];
  return Object.fromEntries(names.map((key) => [key, parsed.data[key]]));
}

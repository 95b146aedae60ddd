/** The options that say which layers of a model are pruned and with which parameters each: names, blocks and a profile. */

import type { Command } from "commander";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { readText } from "../../files/json_file.ts";
import type { ModelSpec } from "../../models/families/family.ts";
import { linearLayers } from "../../prune/block_plan.ts";
import { type Choice, chooseLayers, mergeParameters } from "../../prune/choose_layers.ts";
import { parseProfile } from "../../prune/profile.ts";
import { layerQuerySchema } from "../../protocol/parameters.ts";
import { UsageError } from "../exit.ts";
import { integer } from "../options/numbers.ts";

/** The options as commander leaves them. */
export interface ChoiceOptions {
  readonly layers?: readonly string[];
  readonly skip?: readonly string[];
  readonly minLayer?: number;
  readonly maxLayer?: number;
  readonly profile?: string;
}

/** The layers to prune, and the parameters of each. */
export interface LayerChoice extends Choice {
  queryOf(name: string): LayerQuery;
}

/** Declares them on `command`. */
export function addChoiceOptions(command: Command): Command {
  return command
    .option(
      "--layers <patterns>",
      "only these layers: names or ends of names (fc2), globs (*.3.fc?) or /regular expressions/, " +
        "separated by commas; may be repeated",
      collect,
    )
    .option("--skip <patterns>", "not these layers; as --layers", collect)
    .option("--min-layer <block>", "only blocks from this one on", integer(0))
    .option("--max-layer <block>", "only blocks before this one", integer(0))
    .option(
      "--profile <file>",
      'JSON rules for some layers, later ones win: [{ "match": "fc2", "sparsity": 0.3 }, { "match": "*.0.*", "skip": true }]',
    );
}

/**
 * Settles the options over the layers of a model; `query` is what the run asks for.
 * @throws {UsageError} a pattern or rule matches nothing, the profile is malformed, or parameters contradict each other
 */
export async function readChoice(
  spec: ModelSpec,
  options: ChoiceOptions,
  query: LayerQuery,
  fs: WorkFileSystem,
): Promise<LayerChoice> {
  const { layers, skip, minLayer: minBlock, maxLayer: maxBlock } = options;
  try {
    const profile = options.profile === undefined ? [] : parseProfile(await readText(fs, options.profile));
    const choice = chooseLayers(linearLayers(spec), { layers, skip, minBlock, maxBlock, profile });
    const queries = new Map([...choice.chosen].map(([name, parameters]) => {
      return [name, settle(name, query, parameters)];
    }));
    return { ...choice, queryOf: (name) => queries.get(name) ?? query };
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

/** The parameters of one layer: those of the run with the profile's over them, checked together. */
function settle(name: string, query: LayerQuery, parameters: Readonly<Record<string, unknown>>): LayerQuery {
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

/** Adds the patterns of one more use of an option; a regular expression may hold commas, and is taken whole. */
function collect(text: string, earlier: readonly string[] = []): string[] {
  const isExpression = text.startsWith("/") && text.endsWith("/");
  return [...earlier, ...isExpression ? [text] : text.split(",")];
}

/** Chooses the layers of a run and their parameters, which fit the format of the result. */

import { codedFormat } from "../../model/formats/formats.ts";
import type { DescribedModel } from "../../model/model.ts";
import { linearLayers } from "../../prune/block_plan.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { denoFileSystem as fs } from "../files/deno_file_system.ts";
import { checkMethodSizes } from "../options/layer_options.ts";
import { checkFormat } from "./check_format.ts";
import { checkLayers } from "./check_options.ts";
import { readChoice } from "./choice_options.ts";
import type { PruneOptions } from "./prune_options.ts";
import { choiceForRuntime, queryForRuntime } from "./runtime_format.ts";
import { commonDtype, storableChoice, storableQuery } from "./storable_grids.ts";

/**
 * Returns the parameters of the run, the layers to prune in the order of the model, and the names of the layers that get
 * one grid per row, because their rows are not a multiple of the group size.
 * @param written the parameters as they were given
 * @throws {UsageError} if options contradict each other or do not fit the model
 * @throws {ModelError} if the model cannot be exported to the format of `--for`
 */
export async function resolveLayers(
  written: LayerQuery,
  options: PruneOptions,
  stored: DescribedModel,
) {
  const { for: runtime } = options, { spec, weights } = stored.model, format = codedFormat(options.format);
  const named = await queryForRuntime(runtime, written, stored), all = linearLayers(spec);
  const query = format ? storableQuery(named, commonDtype(all, weights), format) : named;
  const given = await readChoice(spec, options, query, fs);
  const chosen = all.filter(({ name }) => given.chosen.has(name));
  const read = choiceForRuntime(runtime, given, chosen);
  const { choice, perRow } = format
    ? storableChoice(read, chosen, weights, format)
    : { choice: read, perRow: [] as readonly string[] };
  if (format) checkFormat(format, chosen, choice, spec);
  checkMethodSizes(chosen, choice.queryOf);
  checkLayers(options, chosen, choice.queryOf, spec);
  return { query, chosen, choice, perRow };
}

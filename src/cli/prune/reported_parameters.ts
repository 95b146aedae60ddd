/** Lists the parameters of a run for its report, with every default filled in. */

import { basename } from "node:path";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { effectiveParameters, layerQuerySchema } from "../../protocol/parameters.ts";
import { OPTION_PARAMETERS } from "../options/layer_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/** The sources of the parameters. */
export interface ParameterSources {
  /** The parameters of the layers as they were given. */
  readonly query: LayerQuery;
  readonly options: PruneOptions;
}

/** Returns the parameters of the layers and of the choice of layers, by their names in `pare.json`. */
export function reportedParameters({ query, options }: ParameterSources): Record<string, unknown> {
  const { layers, skip, minLayer, maxLayer, profile, allocate, trueSequential } = options;
  const given = effectiveParameters(layerQuerySchema.parse(query));
  const parameters = {
    ...Object.fromEntries(OPTION_PARAMETERS.map((name) => [name, given[name]])),
    layers,
    skip,
    min_layer: minLayer,
    max_layer: maxLayer,
    profile: profile && basename(profile),
    allocate: allocate === "uniform" ? undefined : allocate,
    true_sequential: trueSequential,
    protocol: options.protocol,
  };
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));
}

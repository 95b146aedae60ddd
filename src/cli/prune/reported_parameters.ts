/** Lists the parameters of a run for its report, with every default filled in. */

import { basename } from "node:path";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { METHODS } from "../../protocol/methods.ts";
import { layerQuerySchema, resolveParameters } from "../../protocol/parameters.ts";
import { formatPattern } from "../../sparsity/pattern.ts";
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
  const { method, sparsity, blocksize, damping, pattern, refitSteps, effort, quantization } =
    resolveParameters(layerQuerySchema.parse(query));
  const parameters = {
    method,
    sparsity,
    pattern: formatPattern(pattern),
    blocksize,
    damping,
    refit: refitSteps || undefined,
    effort: METHODS[method].hasEffort ? effort : undefined,
    bits: quantization?.bits,
    group_size: quantization?.groupSize,
    symmetric: quantization?.symmetric,
    order: quantization?.order,
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

/** Chooses the layers of a model and their parameters by the options of `pare prune`, such as `--layers`, `--profile` and `--allocate`. */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { RunOptions } from "../../protocol/run/options.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import { readText } from "../../base/files/whole_file.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import type { AllocationName, AllocationRequest } from "../../prune/allocation/allocation.ts";
import { linearLayers, type SizedLayer } from "../../prune/block_plan.ts";
import { type Choice, chooseLayers, mergeParameters } from "../../prune/choose_layers.ts";
import { parseProfile } from "../../prune/profile.ts";
import { layerQuerySchema, resolveParameters } from "../../protocol/parameters.ts";
import { UsageError } from "../errors.ts";

/** The layers to prune and to skip, and the parameters of each layer. */
export interface LayerChoice extends Choice {
  /** Returns the parameters of the layer `name`. */
  queryOf(name: string): LayerQuery;
  /** The layers over which zeros are allocated. Undefined if every layer has the sparsity in its parameters. */
  readonly allocation?: AllocationRequest;
}

/**
 * Applies the options to the layers of a model. `query` has the parameters of the run.
 * @throws {UsageError} if a pattern or rule matches no layer, the profile is malformed, or parameters contradict each
 * other
 */
export async function readChoice(
  spec: ModelSpec,
  options: RunOptions,
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
    for (const [name, { pattern }] of queries) {
      if (pattern === "columns") {
        throw new RangeError(`pattern columns: would change the shape of ${name}; use pare shrink`);
      }
    }
    return { ...choice, queryOf: (name) => queries.get(name) ?? query, allocation };
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

/**
 * Returns the parameters of one layer. The parameters of the profile override those of the run, and the result is
 * checked as a whole.
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

/**
 * Checks that the pattern of the run does not already fix the sparsity of every layer.
 * @throws {UsageError} if the pattern is n:m and the allocation is not `uniform`
 */
export function checkAllocation(allocate: AllocationName, pattern = "unstructured"): void {
  if (allocate === "uniform" || pattern === "unstructured") return;
  throw new UsageError(
    `option --allocate ${allocate}: needs unstructured sparsity, but the pattern ${pattern} fixes the sparsity of every layer`,
  );
}

/**
 * Returns the allocation that the options ask for, or undefined if every layer gets the sparsity in its parameters.
 * Layers for which a rule of the profile sets a sparsity or an n:m pattern are not part of the allocation.
 * @param query the parameters of the run
 * @throws {UsageError} if rules of the profile set the sparsity or the pattern of all layers
 */
function allocationRequest(
  allocate: AllocationName,
  all: readonly SizedLayer[],
  { chosen }: Choice,
  query: LayerQuery,
): AllocationRequest | undefined {
  if (allocate === "uniform") return undefined;
  const layers = all.filter(({ name }) => {
    const parameters = chosen.get(name);
    return parameters && !("sparsity" in parameters) &&
      (parameters.pattern ?? "unstructured") === "unstructured";
  });
  if (layers.length > 0) {
    const { sparsity } = resolveParameters(layerQuerySchema.parse(query));
    if (sparsity > 0) return { name: allocate, layers, sparsity };
    throw new UsageError(
      `option --allocate ${allocate}: has no zeros to spread, because the sparsity is 0; add --sparsity`,
    );
  }
  throw new UsageError(
    `option --allocate ${allocate}: has no layer to allocate zeros to, because the profile sets the sparsity or the ` +
      `pattern of all ${chosen.size} layers`,
  );
}

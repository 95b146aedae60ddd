/**
 * The member `quantization_config` of config.json for the layout `pack-quantized` (`layout.ts`). Its groups say which linear
 * layers are quantised and how. The source is `quantization/quant_config.py` and `quant_args.py` in
 * github.com/vllm-project/compressed-tensors.
 */

import { ModelError } from "../../files/model_error.ts";
import { isObject } from "../../safetensors/header_json.ts";
import type { GridOptions } from "../../quantization/quantization.ts";
import { PACKED_BITS } from "./layout.ts";

/** The library's name of the layout, which is also its name in Pare's commands. */
export const PACK_QUANTIZED = "pack-quantized";

/** The key of the description in config.json. */
export const QUANTIZATION_KEY = "quantization_config";

/** The strategies of the library that the layout can store: one grid per row, or one per group of columns. */
const STRATEGIES = ["channel", "group"];

/** A quantised layer for the description. */
export interface QuantizedLayer {
  /** The name of the layer's module in the network, such as `model.decoder.layers.0.fc1`. */
  readonly module: string;
  readonly grid: GridOptions;
}

/**
 * Adds the description to `config`. If all layers have the same kind of grid, it is that of all linear layers, except for those
 * in `ignore`. Otherwise each kind of grid names its layers.
 *
 * @param ignore the modules of the linear layers that are not quantised, such as `lm_head`
 */
export function makeQuantizedConfig(
  config: Readonly<Record<string, unknown>>,
  layers: readonly QuantizedLayer[],
  ignore: readonly string[],
): Record<string, unknown> {
  const modulesOfGrid = Map.groupBy(layers, ({ grid }) => JSON.stringify(describeGrid(grid)));
  const groups = [...modulesOfGrid].map(([weights, members], index) => {
    const targets = modulesOfGrid.size === 1 ? ["Linear"] : members.map(({ module }) => module);
    const scheme = {
      targets,
      weights: JSON.parse(weights),
      input_activations: null,
      output_activations: null,
    };
    return [`group_${index}`, scheme];
  });
  const description = {
    quant_method: "compressed-tensors",
    format: PACK_QUANTIZED,
    quantization_status: "compressed",
    config_groups: Object.fromEntries(groups),
    ignore,
    kv_cache_scheme: null,
  };
  return { ...config, [QUANTIZATION_KEY]: description };
}

/** Returns the arguments of the library for a grid. */
function describeGrid({ bits, groupSize, symmetric }: GridOptions): Record<string, unknown> {
  const isGrouped = groupSize > 0;
  return {
    num_bits: bits,
    type: "int",
    symmetric,
    strategy: isGrouped ? "group" : "channel",
    group_size: isGrouped ? groupSize : null,
    dynamic: false,
  };
}

/** Whether `config` describes weights in the layout. {@link readCodeKinds} checks the description. */
export function isPackQuantized(config: Readonly<Record<string, unknown>>): boolean {
  const description = config[QUANTIZATION_KEY];
  return isObject(description) && description.quant_method === "compressed-tensors" &&
    description.format === PACK_QUANTIZED;
}

/** A kind of codes: their number of bits, which is 4 or 8, and whether their zeros are stored. */
export type CodeKind = Pick<GridOptions, "bits" | "symmetric">;

/**
 * Reads the kinds of codes, one per group of layers. All other facts about a weight follow from the shapes of its tensors.
 *
 * @throws {ModelError} if something other than the weights is quantised, or if a group of layers has another kind of grid
 */
export function readCodeKinds(folder: string, config: Readonly<Record<string, unknown>>): CodeKind[] {
  const { config_groups: groups, kv_cache_scheme: cache, sparsity_config: sparsity } =
    config[QUANTIZATION_KEY] as Record<string, unknown>;
  if (cache) throw unsupportedError(folder, "kv_cache_scheme", "absent", cache);
  const sparseFormat = isObject(sparsity) ? sparsity.format : undefined;
  if (sparseFormat !== undefined && sparseFormat !== "dense") {
    throw unsupportedError(folder, "sparsity_config.format", "dense or absent", sparseFormat);
  }
  if (!isObject(groups) || Object.keys(groups).length === 0) {
    throw unsupportedError(folder, "config_groups", "an object with at least one group", groups);
  }
  return Object.entries(groups).map(([name, group]) => readGroup(folder, name, group));
}

function readGroup(folder: string, name: string, group: unknown): CodeKind {
  const { weights, input_activations: inputs, output_activations: outputs } = isObject(group) ? group : {};
  if (!isObject(weights)) throw unsupportedError(folder, `${name}.weights`, "an object", weights);
  if (inputs) throw unsupportedError(folder, `${name}.input_activations`, "absent", inputs);
  if (outputs) throw unsupportedError(folder, `${name}.output_activations`, "absent", outputs);
  const { num_bits: bits, type, strategy, symmetric } = weights;
  if (typeof bits !== "number" || !PACKED_BITS.includes(bits)) {
    throw unsupportedError(folder, `${name}.weights.num_bits`, PACKED_BITS.join(" or "), bits);
  }
  if (type !== "int") throw unsupportedError(folder, `${name}.weights.type`, "int", type);
  if (!STRATEGIES.includes(String(strategy))) {
    throw unsupportedError(folder, `${name}.weights.strategy`, STRATEGIES.join(" or "), strategy);
  }
  return { bits, symmetric: symmetric !== false }; // the library's default is true
}

function unsupportedError(folder: string, member: string, needed: string, value: unknown): ModelError {
  const text = JSON.stringify(value)?.slice(0, 200);
  return new ModelError(`${folder}: ${QUANTIZATION_KEY}.${member} must be ${needed}, not ${text}`);
}

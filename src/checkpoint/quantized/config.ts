/**
 * Makes and reads `quantization_config`, the member of config.json that describes weights in the layout `pack-quantized`
 * (`layout.ts`). Its config groups say which linear layers are quantised and how. The format is defined by
 * `quantization/quant_config.py` and `quant_args.py` in github.com/vllm-project/compressed-tensors.
 */

import { ModelError } from "../../files/model_error.ts";
import { isObject } from "../../safetensors/header_json.ts";
import type { GridOptions } from "../../quantization/quantization.ts";
import { PACKED_BITS } from "./layout.ts";

/** The name of the layout in the compressed-tensors library and in Pare's commands. */
export const PACK_QUANTIZED = "pack-quantized";

/** The key in config.json under which the quantised weights are described. */
export const QUANTIZATION_KEY = "quantization_config";

/** The supported values of `strategy`: one grid per row, or one grid per row and group of columns. */
const STRATEGIES = ["channel", "group"];

/** A layer to list as quantised in `quantization_config`. */
export interface QuantizedLayer {
  /** The name of the layer's module in the network, such as `model.decoder.layers.0.fc1`. */
  readonly module: string;
  readonly grid: GridOptions;
}

/**
 * Returns a copy of `config` with the member `quantization_config`. If all layers have the same kind of grid, a single config
 * group covers every linear layer that is not in `ignore`. Otherwise there is one config group per kind of grid, which lists the
 * layers with this kind by name.
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

/** Describes a grid by the fields of the library's class `QuantizationArgs`. */
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

/** Whether `config` says that weights have this layout. {@link readCodeKinds} checks the rest of `quantization_config`. */
export function isPackQuantized(config: Readonly<Record<string, unknown>>): boolean {
  const description = config[QUANTIZATION_KEY];
  return isObject(description) && description.quant_method === "compressed-tensors" &&
    description.format === PACK_QUANTIZED;
}

/** How codes are stored: with 4 or 8 bits, and with zero points (asymmetric) or without them (symmetric). */
export type CodeKind = Pick<GridOptions, "bits" | "symmetric">;

/**
 * Reads the kinds of codes from `quantization_config`, one per config group. Everything else about a weight is read from its
 * tensors.
 *
 * @throws {ModelError} if something other than weights is quantised, or if a config group has a kind of grid that the layout
 * cannot store
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

/**
 * Finds the member `quantization_config` of config.json, which describes quantised weights, removes it, and makes it for the layout
 * `pack-quantized` (`layout.ts`). `read_config.ts` reads it. Its config groups say which linear layers are quantised and how. The
 * format is defined by `quantization/quant_config.py` and `quant_args.py` in github.com/vllm-project/compressed-tensors.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import type { GridOptions } from "../../../tensor/quantization.ts";

export const PACK_QUANTIZED = "pack-quantized";

export const QUANTIZATION_KEY = "quantization_config";

/**
 * The names of the member that describes quantised weights. Old versions of compressed-tensors wrote the second one. Error messages
 * use the first one for both.
 */
const QUANTIZATION_KEYS = [QUANTIZATION_KEY, "compression_config"];

/** Returns the description of the quantised weights. Undefined if the weights are dense. */
export function quantizationOf(config: Readonly<Record<string, unknown>>): unknown {
  return QUANTIZATION_KEYS.map((key) => config[key] ?? undefined).find((value) => value !== undefined);
}

/** Returns an error that names a member of `quantization_config`, what it must be, and its value. */
export function unsupportedMember(
  folder: string,
  member: string,
  needed: string,
  value: unknown,
): ModelError {
  const text = JSON.stringify(value)?.slice(0, 200);
  return new ModelError(`${folder}: ${QUANTIZATION_KEY}.${member} must be ${needed}, not ${text}`);
}

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

export const WEIGHT_FORMATS = ["dense", PACK_QUANTIZED] as const;

/** A format in which Pare writes weights. */
export type WeightFormat = (typeof WEIGHT_FORMATS)[number];

export function makeDenseConfig(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !QUANTIZATION_KEYS.includes(key)));
}

/**
 * Makes `quantization_config`, the member of config.json that describes weights in the layout `pack-quantized`
 * (`layout.ts`). `read_config.ts` reads it. Its config groups say which linear layers are quantised and how. The format is defined by
 * `quantization/quant_config.py` and `quant_args.py` in github.com/vllm-project/compressed-tensors.
 */

import { isObject } from "../../safetensors/header_json.ts";
import type { GridOptions } from "../../quantization/quantization.ts";

/** The name of the layout in the compressed-tensors library and in Pare's commands. */
export const PACK_QUANTIZED = "pack-quantized";

/** The key in config.json under which the quantised weights are described. */
export const QUANTIZATION_KEY = "quantization_config";

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

/** Whether `config` says that weights have this layout. {@link readGridKinds} checks the rest of `quantization_config`. */
export function isPackQuantized(config: Readonly<Record<string, unknown>>): boolean {
  const description = config[QUANTIZATION_KEY];
  return isObject(description) && description.quant_method === "compressed-tensors" &&
    description.format === PACK_QUANTIZED;
}

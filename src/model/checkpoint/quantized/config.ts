/**
 * Makes `quantization_config`, the member of config.json that describes weights in the layout `pack-quantized`
 * (`layout.ts`). `read_config.ts` reads it. Its config groups say which linear layers are quantised and how. The format is defined by
 * `quantization/quant_config.py` and `quant_args.py` in github.com/vllm-project/compressed-tensors.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import { isObject } from "../../../tensor/safetensors/header_json.ts";
import type { GridOptions } from "../../../tensor/quantization.ts";

export const PACK_QUANTIZED = "pack-quantized";

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

/** A format in which Pare reads and writes weights. */
export type WeightFormat = (typeof WEIGHT_FORMATS)[number];

/**
 * Returns the format of the weights that config.json describes. `read_config.ts` checks the rest of `quantization_config`.
 * @throws {ModelError} if the weights have another format. The message names the format
 */
export function weightFormat(
  { config, folder }: { readonly config: Readonly<Record<string, unknown>>; readonly folder: string },
): WeightFormat {
  const value = config[QUANTIZATION_KEY];
  if (value === undefined || value === null) return "dense";
  const { quant_method: method, format, sparsity_config: sparsity } = isObject(value) ? value : {};
  if (method === "compressed-tensors" && format === PACK_QUANTIZED) return PACK_QUANTIZED;
  if (isObject(sparsity) && typeof sparsity.format === "string") {
    throw new ModelError(
      `${folder}: stores its weights in the sparse format ${
        JSON.stringify(sparsity.format.slice(0, 200))
      }, which Pare ` +
        "does not read; decompress them with compressed-tensors 0.14 or older, or prune the original model again",
    );
  }
  throw new ModelError(
    `${folder}: ${QUANTIZATION_KEY} must name compressed-tensors with the format ${PACK_QUANTIZED}, not ${
      JSON.stringify(value).slice(0, 200)
    }; use the original checkpoint, which is not quantised`,
  );
}

export function makeDenseConfig(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { [QUANTIZATION_KEY]: _, ...rest } = config;
  return rest;
}

/**
 * The format `pack-quantized` of the compressed-tensors library. The source is `compressors/pack_quantized` in
 * github.com/vllm-project/compressed-tensors (version 0.20). In this format a weight is an integer code of B bits, and
 * (code − zero)·scale is its value. A weight matrix of shape (rows, cols) with groups of columns becomes
 *
 *     weight_packed      (rows, ⌈cols·B/32⌉)    I32                   the codes of a row, column by column
 *     weight_scale       (rows, groups)         dtype of the weight
 *     weight_zero_point  (⌈rows·B/32⌉, groups)  I32                   the zeros of a group, row by row (asymmetric grids only)
 *     weight_shape       (2)                    I64                   rows, cols
 *
 * Code i of a row occupies bits i·B to i·B + B − 1 of the row's words, least significant bit first. The bits after the last
 * code are 0. The library subtracts 2^(B−1) from every code and every zero to get signed integers. If the grid is symmetric, the
 * zero is 2^(B−1) and is not stored. Pare supports 2 to 8 bits. Newer versions of vLLM load all of them if the grids are
 * symmetric, and older versions only 4 and 8 bits.
 *
 * The scales have the dtype of the weight, because programs that load the checkpoint convert the scales to this dtype. The
 * solver returns scales in F32. Rounding a scale multiplies all weights of its row or group by the same factor. This factor
 * lies within 1 ± 2^−11 for F16 and within 1 ± 2^−8 for BF16. The dense weight must therefore be computed from the rounded
 * scales. `pare prune` uses this dense weight to calibrate the later layers, so they see the model that is written.
 */

import { ModelError } from "../../base/files/file_error.ts";
import { floatsToBytes, isFloatDtype } from "../../tensor/dtype.ts";
import { type GridOptions, gridsPerRow } from "../../tensor/quantization.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { requireTensor, type TensorSource } from "../checkpoint/tensor_source.ts";
import { moduleName } from "../module_names.ts";
import { dequantizeRows, packColumns, PACKED_BITS, packRows, wordCount } from "./codes/packed_words.ts";
import { PACKED_SUFFIXES, packedNames, readCodes, readGrids } from "./codes/packed_tensors.ts";
import { gridKindOf, type GridKinds, readGridKinds } from "./config/read_config.ts";
import { transformersLine } from "./dense.ts";
import {
  type CodedWeight,
  stemOf,
  type StoredWeight,
  unstorableReason,
  type WrittenFormat,
} from "./format.ts";

export const PACK_QUANTIZED = "pack-quantized";

export const PACK_QUANTIZED_FORMAT = {
  name: PACK_QUANTIZED,
  method: "compressed-tensors",
  format: PACK_QUANTIZED,
  async find(checkpoint) {
    const kinds = readGridKinds(checkpoint.folder, checkpoint.config);
    const stems = new Set(
      [...checkpoint.names()].map(stemOfQuantizedPart).filter((stem) => stem !== undefined),
    );
    const weights: StoredWeight[] = [];
    for (const stem of stems) weights.push(packedWeight(await readPackedWeight(checkpoint, stem, kinds)));
    return weights;
  },
  writer: {
    bits: PACKED_BITS,
    isUniform: false,
    loadsOwnClasses: false,
    specs(weight) {
      const { rows, cols, bits, dtype, symmetric } = weight;
      const names = packedNames(weight.name), groups = gridsPerRow(weight, cols);
      return [
        { name: names.codes, dtype: "I32", shape: [rows, wordCount(cols, bits)] },
        { name: names.scale, dtype, shape: [rows, groups] },
        ...symmetric
          ? []
          : [{ name: names.zeroPoint, dtype: "I32", shape: [wordCount(rows, bits), groups] } as const],
        { name: names.shape, dtype: "I64", shape: [2] },
      ];
    },
    pack: (weight, { codes, scales, zeros }) => [
      packRows(codes, weight.cols, weight.bits),
      floatsToBytes(scales, weight.dtype),
      ...weight.symmetric ? [] : [packColumns(zeros, gridsPerRow(weight, weight.cols), weight.bits)],
      new Uint8Array(BigInt64Array.of(BigInt(weight.rows), BigInt(weight.cols)).buffer),
    ],
    stored: packedWeight,
    describe(weights, ignore) {
      const kinds = Map.groupBy(weights, (weight) => JSON.stringify(gridArguments(weight)));
      const groups = [...kinds].map(([weights, members], index) => {
        const targets = kinds.size === 1 ? ["Linear"] : members.map(({ name }) => moduleName(stemOf(name)));
        const scheme = { targets, weights: JSON.parse(weights) };
        return [`group_${index}`, { ...scheme, input_activations: null, output_activations: null }];
      });
      return {
        quant_method: "compressed-tensors",
        format: PACK_QUANTIZED,
        quantization_status: "compressed",
        config_groups: Object.fromEntries(groups),
        ignore,
        kv_cache_scheme: null,
      };
    },
  },
  howToLoad(folder, config) {
    // transformers 5 gives packed zero points the wrong shape, unless it dequantises the weights while it loads them.
    const { kinds } = readGridKinds(folder, config), isAsymmetric = kinds.some(({ symmetric }) => !symmetric);
    const options = isAsymmetric
      ? [", CompressedTensorsConfig", ", quantization_config=CompressedTensorsConfig(dequantize=True)"]
      : [];
    // Older versions leave the last bits of a word empty if its 32 bits are not a multiple of the bits of a code.
    const version = kinds.some(({ bits }) => 32 % bits !== 0) ? "0.18" : "0.15";
    return [
      `install what the next line needs: pip install "compressed-tensors>=${version}"`,
      transformersLine(folder, config, ...options),
    ];
  },
} as const satisfies WrittenFormat;

/** Describes a grid by the fields of the library's class `QuantizationArgs`. */
function gridArguments({ bits, groupSize, symmetric }: GridOptions): Record<string, unknown> {
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

/** Returns the name of the weight to which a tensor belongs, without `.weight`. Returns undefined for other tensors. */
export function stemOfQuantizedPart(name: string): string | undefined {
  const suffix = Object.values(PACKED_SUFFIXES).find((ending) => name.endsWith(ending));
  return suffix && name.slice(0, -suffix.length);
}

/** Describes a weight in this format, whose rows are dequantised one by one. */
function packedWeight(weight: CodedWeight): StoredWeight {
  const { name, dtype, rows, cols } = weight, names = packedNames(name), groups = gridsPerRow(weight, cols);
  const coded = {
    ...weight,
    readCodes: (source: TensorSource) => readCodes(source, weight, 0, rows),
    readGrids: (source: TensorSource) => readGrids(source, weight, 0, rows),
  };
  return {
    name,
    dtype,
    shape: [rows, cols],
    tensors: [names.codes, names.scale, names.zeroPoint, names.shape],
    sections: rows,
    coded,
    async open(source, first, end) {
      const codes = await readCodes(source, weight, first, end);
      const { scales, zeros } = await readGrids(source, weight, first, end);
      return (row, values) => {
        const grids = [row * groups, (row + 1) * groups] as const;
        const rowGrids = { scales: scales.subarray(...grids), zeros: zeros.subarray(...grids) };
        values.set(dequantizeRows(codes.subarray(row * cols, (row + 1) * cols), rowGrids, weight));
      };
    },
  };
}

/** Suffixes of tensors that change the meaning of the codes. Other versions of the library write such tensors. */
const UNSUPPORTED_SUFFIXES = [".weight_g_idx", ".weight_global_scale"];

/**
 * Reads the shape, the dtype and the grid of a quantised weight from its tensors, and checks them.
 * @param stem the name of the weight without `.weight`
 * @param kinds the grids that config.json describes
 * @throws {ModelError} if a tensor is missing, if its dtype or shape is wrong, or if config.json does not describe its grid
 */
async function readPackedWeight(
  checkpoint: Checkpoint,
  stem: string,
  kinds: GridKinds,
): Promise<CodedWeight> {
  const { folder } = checkpoint, name = `${stem}.weight`, names = packedNames(name);
  const unsupported = UNSUPPORTED_SUFFIXES.find((suffix) => checkpoint.has(stem + suffix));
  if (unsupported) throw new ModelError(`${folder}: ${stem}${unsupported} is not supported`);
  const [rows, cols] = await readStoredShape(checkpoint, names.shape);
  const { dtype } = checkpoint.info(names.scale);
  if (!isFloatDtype(dtype)) {
    throw new ModelError(`${folder}: ${names.scale} must be F32, F16 or BF16, not ${dtype}`);
  }
  const { group, bits, groupSize, symmetric } = gridKindOf(folder, stem, kinds);
  if (symmetric && checkpoint.has(names.zeroPoint)) {
    throw new ModelError(`${folder}: has ${names.zeroPoint}, although the weights of ${group} are symmetric`);
  }
  const weight = { name, rows, cols, dtype, bits, groupSize, symmetric };
  const reason = unstorableReason(PACK_QUANTIZED_FORMAT, weight);
  if (reason !== undefined) throw new ModelError(`${folder}: ${name}: ${reason}`);
  for (const spec of PACK_QUANTIZED_FORMAT.writer.specs(weight)) {
    if (spec.name === names.shape) continue; // `readStoredShape` has checked it
    requireTensor(checkpoint, spec.name, spec.dtype, spec.shape);
  }
  return weight;
}

/** Reads the tensor that contains the shape of a weight. Its own shape is [2] or [2, 1], depending on the version of the library. */
async function readStoredShape(checkpoint: Checkpoint, name: string): Promise<number[]> {
  const { folder } = checkpoint, { dtype, shape } = checkpoint.info(name);
  if (dtype !== "I64" || (String(shape) !== "2" && String(shape) !== "2,1")) {
    throw new ModelError(`${folder}: ${name} must be I64 [2] or [2, 1], not ${dtype} [${shape}]`);
  }
  const extents = [...new BigInt64Array((await checkpoint.read(name, 0, 16)).slice().buffer)].map(Number);
  // The product of the extents needs no check. Each extent must agree with the shapes of the other tensors, which are limited by
  // the size of the file.
  if (extents.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) return extents;
  throw new ModelError(`${folder}: ${name} must hold a shape, not [${extents}]`);
}

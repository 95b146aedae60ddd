/** The declaration of a format in which checkpoints store quantised weights, and the description of one such weight. */

import type { FloatDtype } from "../../tensor/dtype.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { QuantizedParts } from "./codes/packed_layout.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";

/** A dense weight, and the tensors that store it in a quantised form. Its rows extend along its last axis. */
export interface StoredWeight {
  /** The name of the weight in a checkpoint that is not quantised. */
  readonly name: string;
  /** The dtype to which the values are rounded. */
  readonly dtype: FloatDtype;
  readonly shape: readonly number[];
  /** The names of the tensors that store the weight. The first one has the codes, and the second one their scales. */
  readonly tensors: readonly string[];
  /** The number of sections with equally many rows. Each section can be dequantised without the others. */
  readonly sections: number;
  /** The codes and grids of a weight in the layout `pack-quantized`, which exports take over. */
  readonly packed?: QuantizedParts;
  /**
   * Loads all codes, scales and zeros of the sections from `first` to `end − 1`.
   * @returns a function that computes the rows of these sections
   * @throws {ModelError} if a value of a tensor is out of range
   */
  open(source: TensorSource, first: number, end: number): Promise<FillRow>;
}

/** Computes a row of a weight. @param row is counted from the first row of the sections that were opened */
type FillRow = (row: number, values: Float32Array) => void;

/** A format of stored weights. */
export interface StoredFormat {
  /** The name of the format in messages. */
  readonly name: string;
  /** The value of `quant_method` in `quantization_config`. */
  readonly method: string;
  /** The value of `format` in `quantization_config`, if the method has several formats. */
  readonly format?: string;
  /** Matches the names of further tensors that only a program needs that computes with quantised values. */
  readonly leftOut?: RegExp;
  /**
   * Lists the weights of a checkpoint that are stored in this format.
   * @param description the member `quantization_config` of config.json, also under its older name
   * @throws {ModelError} naming a member of `description` that is not supported, or a tensor that is missing or malformed
   */
  find(
    checkpoint: Checkpoint,
    description: Readonly<Record<string, unknown>>,
  ): readonly StoredWeight[] | Promise<readonly StoredWeight[]>;
}

/** Lists the names of tensors that end in `suffix`, without it. */
export function stemsOf(checkpoint: Checkpoint, suffix: string): string[] {
  return [...checkpoint.names()].filter((name) => name.endsWith(suffix)).map((name) =>
    name.slice(0, -suffix.length)
  );
}

/** Matches the names of tensors that describe the quantisation of activations or of the cache of keys and values. */
export const ACTIVATION_TENSORS =
  /[._](activation_scale|(input|output)_(scale|scale_ub|zero_point)|[kvq]_scale)$/;

const DTYPES = new Map<unknown, FloatDtype>([["float32", "F32"], ["float16", "F16"], ["bfloat16", "BF16"]]);

/** Returns the dtype that config.json gives the model. Undefined if it names none of F32, F16 and BF16. */
export function modelDtype({ config: { dtype, torch_dtype: older } }: Checkpoint): FloatDtype | undefined {
  return DTYPES.get(dtype ?? older);
}

/**
 * Returns the dtype of a weight: the dtype of its scales if they have 16 bits, otherwise the dtype that config.json gives the
 * model, and BF16 if it gives none.
 */
export function weightDtype(checkpoint: Checkpoint, scale: string): FloatDtype {
  const { dtype } = checkpoint.info(scale);
  return dtype === "F16" || dtype === "BF16" ? dtype : modelDtype(checkpoint) ?? "BF16";
}

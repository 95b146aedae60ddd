/** The declaration of a format in which checkpoints store weights. `registry.ts` lists the files with the formats. */

import type { FloatDtype } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { describeGrid, type GridOptions } from "../../tensor/quantization.ts";
import type { TensorSpec } from "../../tensor/safetensors/encode.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import type { LinearSpec } from "../layer_specs.ts";

type Members = Readonly<Record<string, unknown>>;

/** A format of stored weights. A format that Pare only reads has no `writer`, and the dense format has no `find`. */
export interface Format {
  /** The name of the format in options, messages and reports. */
  readonly name: string;
  /** The value of `quant_method` in `quantization_config`. Dense checkpoints do not have this member. */
  readonly method?: string;
  /** The value of `format` in `quantization_config`, if the method has several formats. */
  readonly format?: string;
  /** Matches the names of further tensors that only a program needs that computes with quantised values. */
  readonly leftOut?: RegExp;
  /**
   * Lists the weights of a checkpoint that are stored in this format.
   * @param description the member `quantization_config` of config.json, also under its older name
   * @throws {ModelError} naming a member of `description` that is not supported, or a tensor that is missing or malformed
   */
  find?(
    checkpoint: Checkpoint,
    description: Members,
  ): readonly StoredWeight[] | Promise<readonly StoredWeight[]>;
  readonly writer?: FormatWriter;
  /**
   * Returns the lines that say how other programs load a checkpoint.
   * @param folder the path of the checkpoint as a text of JSON
   * @param config the config.json of the checkpoint
   */
  howToLoad?(folder: string, config: Members): string[];
}

/** A format that Pare writes. */
export type WrittenFormat = Format & Required<Pick<Format, "writer" | "howToLoad">>;

/** How a format stores the weights of linear layers as codes. */
export interface FormatWriter {
  /** The allowed bits of a code. The first value is the default. */
  readonly bits: readonly number[];
  /** Whether all linear layers of the blocks must have codes of one kind of symmetric grid, in groups of {@link GROUP_SIZES}. */
  readonly isUniform: boolean;
  /** The dtype of all scales. By default, scales have the dtype of the weight. */
  readonly scaleDtype?: FloatDtype;
  /** Whether programs load layers whose class in transformers is neither `Linear` nor `Conv1D`. */
  readonly loadsOwnClasses: boolean;
  /** The member of config.json that `describe` returns. @default "quantization_config" */
  readonly configKey?: string;
  /** The number of which the rows of a weight must be a multiple. @default 1 */
  readonly rowMultiple?: number;
  /** Returns the tensors that replace a weight. */
  specs(weight: CodedWeight): TensorSpec[];
  /** Returns the bytes of the tensors that `specs` lists, in the same order. */
  pack(weight: CodedWeight, stored: WeightCodes): Uint8Array<ArrayBuffer>[];
  /** Describes a weight whose tensors were written by `pack`. */
  stored(weight: CodedWeight): StoredWeight;
  /**
   * Returns the member of config.json that describes the weights.
   * @param ignore the names of the modules of linear layers that stay dense
   */
  describe(weights: readonly CodedWeight[], ignore: readonly string[]): Record<string, unknown>;
}

/** A weight (rows, cols) of a checkpoint. */
export interface WeightShape {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  /** The dtype of the dense weight. */
  readonly dtype: FloatDtype;
}

/** A weight that is stored as codes, with the kind of its grids. */
export interface CodedWeight extends WeightShape, GridOptions {}

/** The grids of some rows. There is one grid per row and group of columns. */
export interface RowGrids {
  /** The distance between neighbouring values of each grid, in the dtype in which it is stored: (rows, groups). */
  readonly scales: Float32Array<ArrayBuffer>;
  /** The code of the value 0 in each grid: (rows, groups), from 0 to 2^bits − 1. */
  readonly zeros: Uint8Array<ArrayBuffer>;
}

/** The codes of a weight with their grids. An entry of the weight is (code − zero)·scale. */
export interface WeightCodes extends RowGrids {
  /** (rows, cols), from 0 to 2^bits − 1 */
  readonly codes: Uint8Array<ArrayBuffer>;
}

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
  /** The codes, which exports take over. Absent if the weight has no integers with one grid per row and group of columns. */
  readonly coded?: StoredCodes;
  /**
   * Loads all codes, scales and zeros of the sections from `first` to `end − 1`.
   * @returns a function that computes the rows of these sections
   * @throws {ModelError} if a value of a tensor is out of range
   */
  open(source: TensorSource, first: number, end: number): Promise<FillRow>;
}

/** The kind of the grids of a weight, with functions that read its codes and its grids. */
export interface StoredCodes extends CodedWeight {
  /** @throws {ModelError} if the codes have other groups than `groupSize` */
  readCodes(source: TensorSource): Promise<Uint8Array<ArrayBuffer>>;
  /** @throws {ModelError} if a grid is not symmetric, although `symmetric` is set */
  readGrids(source: TensorSource): Promise<RowGrids>;
}

/** Computes a row of a weight. @param row is counted from the first row of the sections that were opened */
type FillRow = (row: number, values: Float32Array) => void;

/** The sizes of groups for which programs have kernels, the best first: larger groups have fewer scales. */
export const GROUP_SIZES: readonly number[] = [128, 64, 32];

const WEIGHT_SUFFIX = ".weight";

/** Returns the name of a weight without `.weight`. */
export function stemOf(weight: string): string {
  return weight.endsWith(WEIGHT_SUFFIX) ? weight.slice(0, -WEIGHT_SUFFIX.length) : weight;
}

/** Lists the names of tensors that end in `suffix`, without it. */
export function stemsOf(checkpoint: Checkpoint, suffix: string): string[] {
  return [...checkpoint.names()].filter((name) => name.endsWith(suffix)).map((name) =>
    name.slice(0, -suffix.length)
  );
}

/** Returns the tensors that store a weight, by name. */
export function packTensors(
  { specs, pack }: FormatWriter,
  weight: CodedWeight,
  stored: WeightCodes,
): ReadonlyMap<string, HostTensor> {
  const data = pack(weight, stored);
  return new Map(specs(weight).map(({ name, dtype, shape }, i) => [name, { dtype, shape, data: data[i] }]));
}

/** Returns why a format cannot store a layer, or why other programs do not load its codes, as the end of a sentence about its weight. */
export function unloadableReason(
  { expertRole, isTransposed, ownClass, outFeatures: rows }: LinearSpec,
  { name, writer: { loadsOwnClasses, rowMultiple = 1 } }: WrittenFormat,
): string | undefined {
  // transformers 5 has one tensor for all experts of a block (5.24).
  if (expertRole !== undefined) return `belongs to an expert, which ${name} does not support`;
  // The formats have groups of neighbouring inputs, which are not neighbours in a transposed weight.
  if (isTransposed) return `is stored transposed (Conv1D), which ${name} does not support`;
  // With only a warning, transformers gives such layers random weights (5.24).
  if (ownClass !== undefined && !loadsOwnClasses) {
    return `is of the class ${ownClass}, which transformers does not load from ${name}`;
  }
  return rows % rowMultiple === 0
    ? undefined
    : `has ${rows} rows, but ${name} needs a multiple of ${rowMultiple}`;
}

/** Returns why a format cannot store the grids of a weight, as a sentence without its period. Undefined if it can. */
export function unstorableReason(
  { name, writer: { bits: allowed, isUniform } }: WrittenFormat,
  { bits, groupSize, symmetric, cols }: GridOptions & Pick<CodedWeight, "cols">,
): string | undefined {
  if (!allowed.includes(bits)) return `${name} stores ${allowed.join(" or ")} bits, not ${bits}`;
  if (isUniform && !(symmetric && GROUP_SIZES.includes(groupSize))) {
    const grid = describeGrid({ bits, groupSize, symmetric });
    return `${name} stores symmetric grids in groups of ${
      GROUP_SIZES.toReversed().join(" or ")
    }, not ${grid}`;
  }
  if (groupSize === 0 || cols % groupSize === 0) return undefined;
  return `${name} needs a group size that divides the ${cols} columns of the weight; ${groupSize} does not`;
}

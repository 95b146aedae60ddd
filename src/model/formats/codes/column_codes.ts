/**
 * The formats `gptq` and `awq`, in which each output of a layer is a column of codes. With B bits, a layer becomes
 *
 *     qweight  I32  gptq: (in·B/32, out), a word holds codes of consecutive inputs. awq: (in, out·B/32), of several outputs
 *     qzeros   (groups, out·B/32)  I32  the codes of 0, of several outputs in one word
 *     scales   (groups, out)  a float dtype
 *     g_idx    (in)  I32  the group of each input, in gptq only. Without it, groups are consecutive inputs
 *
 * and (code − zero)·scale is an entry of its weight (out, in). Each difference has at most 8 significant bits, so the product is
 * exact in f32, and is rounded once.
 */

import { ModelError } from "../../../base/files/file_error.ts";
import { bytesToFloats, type FloatDtype, isFloatDtype } from "../../../tensor/dtype.ts";
import { gridsPerRow } from "../../../tensor/quantization.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { readTensor, requireTensor, type TensorSource } from "../../checkpoint/tensor_source.ts";
import { unsupportedMember } from "../config/quantization_config.ts";
import { type CodedWeight, stemOf, stemsOf, type StoredWeight } from "../format.ts";
import { transpose } from "./packed_words.ts";
import { weightDtype } from "./weight_dtype.ts";

/** The bits of codes for which programs have kernels, the default first. */
export const COLUMN_BITS: readonly number[] = [4, 8];

/** The differences between the formats. */
export interface ColumnLayout {
  /** The axis of the codes in one word of `qweight`. */
  readonly packedAxis: "inputs" | "outputs";
  /** Returns the position in a word for each of the outputs that share the word, counted from the lowest bits. */
  order(bits: number): readonly number[];
  /** Whether `qzeros` holds zero − 1. Readers add 1 to every code of a word at once, so a code of −1 borrows from the next one. */
  readonly storesZerosMinusOne: boolean;
}

/** Returns the names of the tensors that store the weight `name`. */
export function columnNames(name: string) {
  const stem = stemOf(name);
  return {
    codes: stem + CODES,
    zeros: `${stem}.qzeros`,
    scales: `${stem}.scales`,
    groups: `${stem}.g_idx`,
  };
}

function readGrid(folder: string, { bits, group_size: size }: Readonly<Record<string, unknown>>) {
  if (!COLUMN_BITS.includes(bits as number)) {
    throw unsupportedMember(folder, "bits", COLUMN_BITS.join(" or "), bits);
  }
  if (size !== -1 && !(Number.isSafeInteger(size) && Number(size) > 0)) {
    throw unsupportedMember(folder, "group_size", "a positive integer or -1", size);
  }
  return { bits: bits as number, groupSize: size === -1 ? 0 : size as number };
}

const CODES = ".qweight";

/**
 * Lists the weights of a checkpoint.
 * @throws {ModelError} if a tensor is missing or malformed, or if the bits or the group size are not supported
 */
export function columnWeights(
  checkpoint: Checkpoint,
  description: Readonly<Record<string, unknown>>,
  layout: ColumnLayout,
): StoredWeight[] {
  const { folder, config } = checkpoint, grid = readGrid(folder, description);
  if (config.model_type === "gpt2") {
    throw new ModelError(
      `${folder}: Pare does not read ${CODES} of gpt2, whose dense weights are stored transposed (Conv1D)`,
    );
  }
  const isCoded = description.sym === true && description.desc_act === false;
  return stemsOf(checkpoint, CODES).map((stem) => {
    const weight = checkedWeight(checkpoint, `${stem}.weight`, grid, layout);
    const stored = columnWeight(weight, layout, checkpoint);
    return isCoded ? stored : { ...stored, coded: undefined };
  });
}

/** Describes a weight by its tensors. @throws {ModelError} if a tensor is missing, or if its dtype or shape is wrong */
function checkedWeight(
  checkpoint: Checkpoint,
  name: string,
  { bits, groupSize }: Pick<CodedWeight, "bits" | "groupSize">,
  { packedAxis }: ColumnLayout,
): CodedWeight {
  const { folder } = checkpoint, names = columnNames(name);
  const { shape } = checkpoint.info(names.codes), { dtype: scaleDtype } = checkpoint.info(names.scales);
  if (shape.length !== 2 || shape.includes(0) || !isFloatDtype(scaleDtype)) {
    throw new ModelError(
      `${folder}: ${
        stemOf(name)
      } needs a matrix of codes and scales in a float dtype, not [${shape}] and ${scaleDtype}`,
    );
  }
  const perWord = 32 / bits, packsInputs = packedAxis === "inputs";
  const [cols, rows] = packsInputs ? [shape[0] * perWord, shape[1]] : [shape[0], shape[1] * perWord];
  const weight = { name, rows, cols, bits, groupSize: groupSize < cols ? groupSize : 0, symmetric: true };
  const groups = gridsPerRow(weight, cols);
  if (rows % perWord !== 0) {
    throw new ModelError(
      `${folder}: ${names.codes} must have a multiple of ${perWord} outputs, whose zeros share a word, not ${rows}`,
    );
  }
  requireTensor(checkpoint, names.codes, "I32", shape);
  requireTensor(checkpoint, names.zeros, "I32", [groups, rows / perWord]);
  requireTensor(checkpoint, names.scales, scaleDtype, [groups, rows]);
  if (packsInputs && checkpoint.has(names.groups)) requireTensor(checkpoint, names.groups, "I32", [cols]);
  return { ...weight, dtype: weightDtype(checkpoint, names.scales) };
}

/**
 * Describes a weight.
 * @param checkpoint has the tensors of the weight, and may have a group for each input. Without it, groups are consecutive inputs
 */
export function columnWeight(
  weight: CodedWeight,
  { packedAxis, order, storesZerosMinusOne }: ColumnLayout,
  checkpoint?: Checkpoint,
): StoredWeight {
  const { name, dtype, rows, cols, bits, symmetric } = weight, names = columnNames(name);
  const perWord = 32 / bits, words = rows / perWord, largest = 2 ** bits - 1, middle = 2 ** (bits - 1);
  const groups = gridsPerRow(weight, cols), groupSize = weight.groupSize || cols;
  const shifts = order(bits).map((position) => position * bits);
  const hasGroups = packedAxis === "inputs" && checkpoint?.has(names.groups);
  const refused = (text: string) => new ModelError(`${checkpoint?.folder}: ${text}`);

  async function readCodes(source: TensorSource) {
    const packed = await readWords(source, names.codes), codes = new Uint8Array(rows * cols);
    for (let row = 0, at = 0; row < rows; row++) {
      const word = Math.floor(row / perWord), shift = shifts[row % perWord];
      for (let col = 0; col < cols; col++) {
        codes[at++] = packedAxis === "inputs"
          ? packed[Math.floor(col / perWord) * rows + row] >>> col % perWord * bits & largest
          : packed[col * words + word] >>> shift & largest;
      }
    }
    return codes;
  }

  async function readGrids(source: TensorSource) {
    const packed = await readWords(source, names.zeros),
      { data, dtype } = await readTensor(source, names.scales);
    if (storesZerosMinusOne) addOnes(packed, bits);
    const zeros = new Uint8Array(rows * groups);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let group = 0; group < groups; group++) {
        zeros[at++] = packed[group * words + Math.floor(row / perWord)] >>> shifts[row % perWord] & largest;
      }
    }
    return { scales: transpose(bytesToFloats(data, dtype as FloatDtype), groups), zeros };
  }

  /** Returns the group of each input. */
  async function readGroups(source: TensorSource): Promise<Int32Array> {
    if (!hasGroups) return Int32Array.from({ length: cols }, (_, col) => Math.floor(col / groupSize));
    const groupOf = await readWords(source, names.groups);
    const wrong = groupOf.findIndex((group) => group < 0 || group >= groups);
    if (wrong < 0) return groupOf;
    throw refused(`${names.groups}[${wrong}] must be a group from 0 to ${groups - 1}, not ${groupOf[wrong]}`);
  }

  return {
    name,
    dtype,
    shape: [rows, cols],
    tensors: [names.codes, names.scales, names.zeros, ...hasGroups ? [names.groups] : []],
    sections: 1,
    coded: {
      ...weight,
      async readCodes(source) {
        const groupOf = await readGroups(source);
        const wrong = groupOf.findIndex((group, col) => group !== Math.floor(col / groupSize));
        if (wrong < 0) return await readCodes(source);
        const rule = `must be ${Math.floor(wrong / groupSize)}, because desc_act is false, not ${
          groupOf[wrong]
        }`;
        throw refused(`${names.groups}[${wrong}] ${rule}`);
      },
      async readGrids(source) {
        const grids = await readGrids(source);
        const wrong = symmetric ? grids.zeros.findIndex((zero) => zero !== middle) : -1;
        if (wrong < 0) return grids;
        throw refused(
          `${names.zeros} has the zero ${grids.zeros[wrong]} instead of ${middle}, although sym is true`,
        );
      },
    },
    async open(source) {
      const groupOf = await readGroups(source), codes = await readCodes(source);
      const { scales, zeros } = await readGrids(source);
      return (row, values) => {
        for (let col = 0; col < cols; col++) {
          const grid = row * groups + groupOf[col];
          values[col] = (codes[row * cols + col] - zeros[grid]) * scales[grid] + 0; // +0 in place of −0, as in `dequantizeRows`
        }
      };
    },
  };
}

async function readWords(source: TensorSource, name: string): Promise<Int32Array> {
  return new Int32Array((await readTensor(source, name)).data.slice().buffer);
}

/** Adds 1 to each code of every word, with carries between the codes. */
function addOnes(words: Int32Array, bits: number): void {
  const ones = bits === 4 ? 0x11111111 : 0x01010101;
  for (let i = 0; i < words.length; i++) words[i] += ones;
}

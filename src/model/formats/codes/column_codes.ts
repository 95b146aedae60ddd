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
import { bytesToFloats, isFloatDtype } from "../../../tensor/dtype.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { readTensor, requireTensor, type TensorSource } from "../../checkpoint/tensor_source.ts";
import { unsupportedMember } from "../config/quantization_config.ts";
import { stemsOf, type StoredWeight } from "../format.ts";
import { PACKED_BITS } from "./packed_words.ts";
import { weightDtype } from "./weight_dtype.ts";

/** The differences between the formats. */
interface ColumnLayout {
  /** The axis of the codes in one word of `qweight`. */
  readonly packedAxis: "inputs" | "outputs";
  /** Returns the position in a word for each of the outputs that share the word, counted from the lowest bits. */
  order(bits: number): readonly number[];
  /** Whether `qzeros` holds zero − 1. Readers add 1 to every code of a word at once, so a code of −1 borrows from the next one. */
  readonly storesZerosMinusOne: boolean;
}

/** The members of `quantization_config` that both formats have. */
interface ColumnGrid {
  readonly bits: number;
  /** The inputs of a group. Infinity if all inputs have one group. */
  readonly groupSize: number;
}

function readGrid(folder: string, { bits, group_size: size }: Readonly<Record<string, unknown>>): ColumnGrid {
  if (!PACKED_BITS.includes(bits as number)) {
    throw unsupportedMember(folder, "bits", PACKED_BITS.join(" or "), bits);
  }
  if (size !== -1 && !(Number.isSafeInteger(size) && Number(size) > 0)) {
    throw unsupportedMember(folder, "group_size", "a positive integer or -1", size);
  }
  return { bits: bits as number, groupSize: size === -1 ? Infinity : size as number };
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
  return stemsOf(checkpoint, CODES).map((stem) => columnWeight(checkpoint, stem, grid, layout));
}

/** Describes a weight. @throws {ModelError} if a tensor is missing, or if its dtype or shape is wrong */
function columnWeight(
  checkpoint: Checkpoint,
  stem: string,
  { bits, groupSize }: ColumnGrid,
  { packedAxis, order, storesZerosMinusOne }: ColumnLayout,
): StoredWeight {
  const names = {
    codes: stem + CODES,
    scales: `${stem}.scales`,
    zeros: `${stem}.qzeros`,
    groups: `${stem}.g_idx`,
  };
  const { shape } = checkpoint.info(names.codes), { dtype: scaleDtype } = checkpoint.info(names.scales);
  if (shape.length !== 2 || shape.includes(0) || !isFloatDtype(scaleDtype)) {
    throw new ModelError(
      `${checkpoint.folder}: ${stem} needs a matrix of codes and scales in a float dtype, not [${shape}] and ${scaleDtype}`,
    );
  }
  const perWord = 32 / bits, packsInputs = packedAxis === "inputs";
  const [inputs, outputs] = packsInputs ? [shape[0] * perWord, shape[1]] : [shape[0], shape[1] * perWord];
  const groups = Math.ceil(inputs / Math.min(inputs, groupSize)), zeroWords = outputs / perWord;
  if (!Number.isInteger(zeroWords)) {
    throw new ModelError(
      `${checkpoint.folder}: ${names.codes} must have a multiple of ${perWord} outputs, whose zeros share a word, not ${outputs}`,
    );
  }
  requireTensor(checkpoint, names.codes, "I32", shape);
  requireTensor(checkpoint, names.zeros, "I32", [groups, zeroWords]);
  requireTensor(checkpoint, names.scales, scaleDtype, [groups, outputs]);
  const hasGroups = packsInputs && checkpoint.has(names.groups);
  if (hasGroups) requireTensor(checkpoint, names.groups, "I32", [inputs]);
  const largest = 2 ** bits - 1, shifts = order(bits).map((position) => position * bits);
  return {
    name: `${stem}.weight`,
    dtype: weightDtype(checkpoint, names.scales),
    shape: [outputs, inputs],
    tensors: [names.codes, names.scales, names.zeros, ...hasGroups ? [names.groups] : []],
    sections: 1,
    async open(source) {
      const words = await readWords(source, names.codes), zeros = await readWords(source, names.zeros);
      const scales = bytesToFloats((await readTensor(source, names.scales)).data, scaleDtype);
      const groupOf = hasGroups
        ? await readWords(source, names.groups)
        : Int32Array.from({ length: inputs }, (_, input) => Math.floor(input / groupSize));
      const wrong = groupOf.findIndex((group) => group < 0 || group >= groups);
      if (wrong >= 0) {
        const rule = `must be a group from 0 to ${groups - 1}, not ${groupOf[wrong]}`;
        throw new ModelError(`${checkpoint.folder}: ${names.groups}[${wrong}] ${rule}`);
      }
      if (storesZerosMinusOne) addOnes(zeros, bits);
      const rowZeros = new Int32Array(groups), rowScales = new Float32Array(groups);
      return (output, values) => {
        const outputWord = Math.floor(output / perWord), shift = shifts[output % perWord];
        for (let group = 0; group < groups; group++) {
          rowZeros[group] = zeros[group * zeroWords + outputWord] >>> shift & largest;
          rowScales[group] = scales[group * outputs + output];
        }
        for (let input = 0; input < inputs; input++) {
          const group = groupOf[input];
          const code = packsInputs
            ? words[Math.floor(input / perWord) * outputs + output] >>> input % perWord * bits & largest
            : words[input * zeroWords + outputWord] >>> shift & largest;
          values[input] = (code - rowZeros[group]) * rowScales[group];
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
